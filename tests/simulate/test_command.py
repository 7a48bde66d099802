"""`wakeful simulate` as it is typed: traffic in, figures out, and what is refused."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from wakeful.cli import main

FILE = """\
runtime: process
services:
  hello: {command: hello, concurrency: 2, domains: [hello.example.com]}
  other: {command: other}
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wakeful.yaml").write_text(FILE)
    return tmp_path


def simulate(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["simulate", *arguments])


def figures(*arguments: str) -> Any:
    done = simulate(*arguments, "--json", "-")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize("shape", ["step", "ramp", "spike", "sine", "poisson"])
def test_a_shape_is_all_that_is_needed(shape: str) -> None:
    done = simulate("-c", "wakeful.yaml", "--shape", shape, "--duration", "60s")
    assert done.exit_code == 0, done.output
    assert f"traffic: {shape}, " in done.stdout
    assert "start times: 400ms (assumed" in done.stdout
    for title in ("hello", "other", "all services"):
        assert any(line.startswith(title) for line in done.stdout.splitlines())


@pytest.mark.usefixtures("directory")
def test_settings_are_set_side_by_side_beginning_with_the_file_as_it_is() -> None:
    made = figures(
        *("--shape", "step", "--duration", "2m", "--service", "hello", "--start-time", "1s"),
        *("--set", "services.hello.concurrency=4"),
        *("--set", "services.hello.scale.window=10s", "--set", "services.hello.scale.window=30s"),
    )
    assert [(one["name"], one["set"]) for one in made["settings"]] == [
        ("as configured", {}),
        (
            "hello.concurrency=4, hello.scale.window=10s",
            {"services.hello.concurrency": "4", "services.hello.scale.window": "10s"},
        ),
        (
            "hello.concurrency=4, hello.scale.window=30s",
            {"services.hello.concurrency": "4", "services.hello.scale.window": "30s"},
        ),
    ]
    costs = [one["services"]["hello"]["instance_seconds"] for one in made["settings"]]
    assert costs[1] < costs[2]
    # The longest of the windows, after the traffic, and 30 s for the last steps.
    assert [one["seconds"] for one in made["settings"]] == [120 + 60 + 30] * 3
    assert list(made["settings"][0]["services"]) == ["hello"]


@pytest.mark.usefixtures("directory")
def test_the_figures_of_one_request_are_what_anybody_can_work_out() -> None:
    Path("one.csv").write_text("time,service,duration\n0,hello,2s\n0,hello,2\n0,hello,2000ms\n")
    made = figures("--trace", "one.csv", "--start-time", "1s")
    assert made["start_times"] == {"seconds": [1.0], "source": "as given"}
    hello = made["settings"][0]["services"]["hello"]
    # 3 requests with 2 places each: 2 instances, and all 3 wait for a start.
    assert (hello["requests"], hello["answered"], hello["rejected"]) == (3, 3, {})
    assert hello["wait_seconds"] == {"p50": 1.0, "p95": 1.0, "p99": 1.0, "max": 1.0}
    assert hello["cold_starts"] == 1
    assert hello["cold_requests"] == 3
    assert max(hello["timeline"]["queue"]) == 3
    assert max(hello["timeline"]["ready"]) == hello["peak_instances"]
    assert made["settings"][0]["total"].items() <= hello.items()


@pytest.mark.usefixtures("directory")
def test_the_log_says_how_long_starts_take_unless_the_command_line_does() -> None:
    line = {"ts": 100.0, "status": 200, "host": "hello.example.com", "duration": 0.75}
    line |= {"service": "hello", "instance": "h-1", "queue_ms": 650.0, "cold_start": True}
    Path("access.log.gz").write_bytes(gzip.compress(json.dumps(line).encode() + b"\n"))
    made = figures("--log", "access.log.gz")
    assert made["start_times"] == {"seconds": [0.65], "source": "of 1 cold start in the log"}
    assert made["settings"][0]["services"]["hello"]["wait_seconds"]["max"] == 0.65
    made = figures("--log", "access.log.gz", "--start-time", "100ms,200ms")
    assert made["start_times"]["seconds"] == [0.1, 0.2]


@pytest.mark.usefixtures("directory")
def test_a_wake_filter_can_be_tried_on_a_log() -> None:
    line = {"service": "hello", "duration": 0.1, "queue_ms": 0.0, "user_agent": "Uptime/1"}
    log = [json.dumps({"ts": at, **line}) + "\n" for at in range(0, 3600, 30)]
    Path("access.log").write_text("".join(log))
    made = figures(
        *("--log", "access.log"),
        *("--set", "services.hello.wake.ignore=[{user-agent: [Uptime*], answer: 200}]"),
    )
    before, after = (one["services"]["hello"] for one in made["settings"])
    assert before["instance_seconds"] > 3500
    assert before["rejected"] == {}
    assert after["instance_seconds"] == 0
    assert after["rejected"] == {"asleep": 120}


@pytest.mark.usefixtures("directory")
def test_the_same_command_has_the_same_output() -> None:
    asked = ("--shape", "poisson", "--service-time", "exponential:300ms", "--duration", "1m")
    assert figures(*asked) == figures(*asked)
    assert figures(*asked) != figures(*asked, "--seed", "2")


@pytest.mark.usefixtures("directory")
def test_rejections_are_told_with_their_reasons() -> None:
    changes = ("services.hello.max-instances=1", "services.hello.queue.limit=3")
    done = simulate(
        *("--shape", "spike", "--duration", "1m", "--service", "hello", "--service-time", "1s"),
        *(word for change in changes for word in ("--set", change)),
    )
    assert done.exit_code == 0, done.output
    assert "  rejected, hello.max-instances=1, hello.queue.limit=3: queue_full " in done.stdout


@pytest.mark.usefixtures("directory")
def test_figures_and_a_picture_can_be_written_beside_the_table() -> None:
    done = simulate(
        "--shape", "step", "--duration", "30s", "--json", "out.json", "--svg", "out.svg"
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("traffic: step")
    assert json.loads(Path("out.json").read_text())["traffic"].startswith("step")
    assert Path("out.svg").read_text().startswith("<svg ")


@pytest.mark.usefixtures("directory")
def test_what_was_not_taken_from_a_log_is_said() -> None:
    Path("access.log").write_text(
        '{"ts":1,"duration":0.5,"host":"hello.example.com","status":200}\n'
        '{"ts":1,"duration":0.5,"host":"stranger.example.com","status":200}\n'
        "garbage\n"
    )
    done = simulate("--log", "access.log")
    assert done.exit_code == 0, done.output
    assert "note: could not be read: 1 of 3 lines\n  access.log:3: neither JSON" in done.stdout
    assert "configuration does not have: 1 line: stranger.example.com (1)" in done.stdout


@pytest.mark.parametrize(
    ("option", "text"),
    [("--log", '{"ts":1,"duration":0.5,"service":"hello"}\n'), ("--trace", "time\n1\n")],
)
def test_traffic_may_come_from_standard_input_gzipped_or_not(
    option: str, text: str, directory: Path
) -> None:
    command = [sys.executable, "-m", "wakeful", "simulate", option, "-", "--service", "hello"]
    for data in (text.encode(), gzip.compress(text.encode())):
        done = subprocess.run(command, input=data, capture_output=True, cwd=directory, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.startswith(b"traffic: 1 request of standard input\n")


@pytest.mark.parametrize("when", ["while it reads", "while it simulates"])
def test_an_interrupt_ends_it_at_once_and_without_a_word_too_many(
    directory: Path, when: str
) -> None:
    trace = directory / "trace.csv"
    os.mkfifo(trace)
    command = [sys.executable, "-m", "wakeful", "simulate", "--trace", str(trace)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        with trace.open("w") as stream:  # is open when the command has come to read it
            if when == "while it simulates":
                stream.write("time,service\n0,hello\n2600000,hello\n")  # a month
            else:
                running.send_signal(signal.SIGINT)
        if when == "while it simulates":
            running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    assert (running.returncode, said.strip()) == (1, "Aborted!")


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of --log, --trace and --shape is needed"),
        (["--shape", "step", "--trace", "x.csv"], "one of --log, --trace and --shape is needed"),
        (["--trace", "x.csv", "--rate", "3"], "--rate is for a --shape"),
        (["--shape", "step", "--duration", "soon"], "--duration: expected a duration"),
        (["--shape", "step", "--service-time", "0s"], "--service-time: must be more than 0s"),
        (["--shape", "step", "--start-time", "1s,x"], "--start-time: expected a duration"),
        (["--shape", "step", "--rate", "0"], "there would be no requests"),
        (["--shape", "step", "--set", "window"], "--set: expected PATH=VALUE"),
        (["--shape", "step", "--service", "nobody"], "there is no service 'nobody'"),
        (
            ["--shape", "step", *(f"--set=services.hello.concurrency={n}" for n in range(1, 34))],
            "more than 32 combinations",
        ),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: list[str], message: str) -> None:
    done = simulate(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.usefixtures("directory")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trace", "none.csv"], "none.csv: cannot be read: No such file or directory"),
        (["--log", "empty.log"], "empty.log: no requests for any service"),
        (["--trace", "empty.log"], "empty.log: the first line names no columns that are known"),
        (["-c", "none.yaml", "--shape", "step"], "none.yaml:1:1: file: cannot be read"),
        (["-c", "bad.yaml", "--shape", "step"], "bad.yaml:1:12: services.a: one of 'image'"),
        (
            ["--shape", "step", "--set", "services.hello.scale.window=1s"],
            "--set services.hello.scale.window=1s: services.hello.scale.window: must be 6s",
        ),
        (
            ["--shape", "step", "--duration", "10s", "--svg", "none/x.svg"],
            "none/x.svg: No such file or directory",
        ),
        (["--shape", "step", "--duration", "768h"], "the traffic goes on for 32 days; at most 31"),
        (["--log", "broken.gz"], "broken.gz: cannot be read: "),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments: list[str], message: str) -> None:
    Path("empty.log").write_text("")
    Path("bad.yaml").write_text("services: {a: {port: 1}}")
    Path("broken.gz").write_bytes(gzip.compress(b"x" * 1000)[:20])
    done = simulate(*arguments)
    assert done.exit_code == 1
    assert message in done.stderr
    assert done.stdout == ""
