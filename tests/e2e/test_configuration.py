"""What wakeful refuses to start with: it says all of it, exits, and has started nothing."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.harness import MARK, Platform, marked, wakeful_command
from tests.ports import free_port

GOOD = """\
listen: "127.0.0.1:{port}"
runtime: process
state-dir: state
services:
  hello:
    command: [sleep, "60"]
    min-instances: 1
"""
BAD = """\
listen: "127.0.0.1:{port}"
runtime: process
state-dir: state
acces-log: off
services:
  hello:
    command: [sleep, "60"]
    min-instances: 5
    max-instances: 2
    timeout: soon
  Bad_Name:
    command: [sleep, "60"]
  nothing:
    port: 99999
"""
PROBLEMS = [
    (4, 1, "acces-log", "did you mean 'access-log'"),
    (8, 20, "services.hello.min-instances", "min-instances (5) is more than max-instances (2)"),
    (10, 14, "services.hello.timeout", "soon"),
    (11, 3, "services.Bad_Name", "such as 'bad-name'"),
    (13, 3, "services.nothing", "one of 'image', 'command' and 'upstreams' is needed"),
    (14, 11, "services.nothing.port", "1 to 65535"),
]


def problems_of(text: str, file: Path) -> list[tuple[int, int, str, str]]:
    """Each line as FILE:LINE:COL: path: message; the last line counts them."""
    *lines, last = text.splitlines()
    assert last == f"{file}: {len(lines)} errors"
    found = []
    for line in lines:
        match = re.fullmatch(rf"{re.escape(str(file))}:(\d+):(\d+): (\S+): (.+)", line)
        assert match, line
        found.append((int(match[1]), int(match[2]), match[3], match[4]))
    return found


@pytest.mark.parametrize("command", [["run"], ["validate"], ["-t"]])
def test_a_bad_file_is_refused_with_every_error_at_its_line_and_nothing_is_started(
    command: list[str], tmp_path: Path, free: int
) -> None:
    file = tmp_path / "wakeful.yaml"
    file.write_text(BAD.format(port=free))
    ended = wakeful_command(*command, "-c", str(file), env={MARK: str(tmp_path)})
    assert ended.returncode == 1
    assert ended.stdout == ""
    found = problems_of(ended.stderr, file)
    assert [(line, path) for line, _, path, _ in found] == [(p[0], p[2]) for p in PROBLEMS]
    for (_, column, path, message), (_, expected, _, words) in zip(found, PROBLEMS, strict=True):
        assert column == expected, path
        assert words in message
    assert not list(marked(str(tmp_path)))
    assert list(tmp_path.iterdir()) == [file]  # no state either
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", free))


@pytest.fixture
def free() -> int:
    return free_port()


@pytest.mark.parametrize("command", [["validate"], ["-t"]])
def test_a_good_file_is_said_to_be_good_and_nothing_is_started(
    command: list[str], tmp_path: Path, free: int
) -> None:
    file = tmp_path / "wakeful.yaml"
    file.write_text(GOOD.format(port=free))
    ended = wakeful_command(*command, "-c", str(file))
    assert (ended.returncode, ended.stdout) == (0, f"{file}: OK (1 service)\n")
    assert list(tmp_path.iterdir()) == [file]


def test_without_c_the_file_of_the_working_directory_is_taken(tmp_path: Path, free: int) -> None:
    (tmp_path / "wakeful.yaml").write_text(GOOD.format(port=free))
    ended = wakeful_command("validate", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "wakeful.yaml: OK (1 service)\n")


@pytest.mark.parametrize("command", ["run", "validate"])
def test_a_missing_file_is_named_and_the_exit_code_is_1(command: str, tmp_path: Path) -> None:
    ended = wakeful_command(command, "-c", str(tmp_path / "none.yaml"))
    assert ended.returncode == 1
    assert f"{tmp_path / 'none.yaml'}:1:1: " in ended.stderr
    assert "No such file" in ended.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--no-such-option"],
        ["serve"],
        ["run", "extra"],
        ["run", "--listen", "80", "-c", "FILE"],
        ["demo", "--runtime", "podman"],
        ["-c", "FILE", "run"],
        [],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], tmp_path: Path, free: int) -> None:
    file = tmp_path / "wakeful.yaml"
    file.write_text(GOOD.format(port=free))
    arguments = [str(file) if argument == "FILE" else argument for argument in arguments]
    ended = wakeful_command(*arguments)
    assert ended.returncode == 2, ended.stderr
    assert "Usage:" in ended.stdout + ended.stderr
    assert not (tmp_path / "state").exists()


def test_version_says_its_version() -> None:
    from wakeful import __version__

    for arguments in (["version"], ["--version"]):
        ended = wakeful_command(*arguments)
        assert (ended.returncode, ended.stdout) == (0, f"wakeful {__version__}\n")


@pytest.mark.parametrize("taken", ["listen", "admin"])
def test_a_port_that_is_taken_is_named_with_the_reason_and_no_instance_is_left(
    taken: str, processes: Platform, launch: Launch
) -> None:
    service = processes.service(min_instances=1)
    wakeful = launch({"hello": service}, start=False)
    port = wakeful.port if taken == "listen" else wakeful.admin
    with socket.create_server(("127.0.0.1", port)):
        wakeful.launch()
        assert wakeful.exit_code() == 1
    (error,) = [line["msg"] for line in wakeful.logs() if line["level"] == "error"]
    assert error.startswith(f"{taken} 127.0.0.1:{port}: ")
    assert "address already in use" in error.lower()
    assert wakeful.processes() == []
    wakeful.start()  # nothing of the failed start stands in the way


def test_a_state_directory_in_use_by_another_is_refused_and_the_other_is_not_disturbed(
    processes: Platform, launch: Launch
) -> None:
    first = launch({"hello": processes.service()})
    pid = first.get("hello").json()["pid"]
    second = launch({"hello": processes.service()}, start=False, **{"state-dir": str(first.state)})
    second.launch()
    assert second.exit_code() == 1
    (error,) = [line["msg"] for line in second.logs() if line["level"] == "error"]
    assert f"{first.state} is in use by another wakeful" in error
    assert first.get("hello").json()["pid"] == pid


def test_a_damaged_state_is_refused_and_left_as_it_is(processes: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": processes.service()}, start=False)
    wakeful.state.mkdir()
    (wakeful.state / "state.json").write_text("{}")
    wakeful.launch()
    assert wakeful.exit_code() == 1
    (error,) = [line["msg"] for line in wakeful.logs() if line["level"] == "error"]
    assert "is damaged" in error
    assert (wakeful.state / "state.json").read_text() == "{}"
    (wakeful.state / "state.json").unlink()
    wakeful.start()


def test_what_the_runtime_cannot_give_is_an_error_of_the_file(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service(memory="64Mi")}, start=False)
    wakeful.launch()
    assert wakeful.exit_code() == 1
    assert f"{wakeful.file}:" in wakeful.log_text()
    assert "services.hello.memory: runtime process cannot limit memory" in wakeful.log_text()
    wakeful._log.unlink()
