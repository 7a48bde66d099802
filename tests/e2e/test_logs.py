"""`wakeful logs` and what it asks for: who wrote what, in order, now and from now on."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.harness import (
    Definition,
    Platform,
    Wakeful,
    read_head,
    until,
    wakeful_command,
)
from tests.ports import free_port

AWAKE = {"freeze-after": "never"}


def writer(platform: Platform, *arguments: str, **keys: Any) -> Definition:
    return platform.service(*arguments, program="writer.py", **keys)


class Logs:
    """A `wakeful logs` that runs, and what it has said so far."""

    def __init__(self, wakeful: Wakeful, *arguments: str) -> None:
        command = [sys.executable, "-m", "wakeful", "logs", "-c", str(wakeful.file), *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self.out: list[str] = []
        self.notes: list[str] = []
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._threads = [
            self._collect(self.process.stdout, self.out),
            self._collect(self.process.stderr, self.notes),
        ]

    def _collect(self, source: IO[bytes], lines: list[str]) -> threading.Thread:
        def collect() -> None:
            for line in source:
                lines.append(line.decode("utf-8", "surrogateescape").rstrip("\n"))

        thread = threading.Thread(target=collect)
        thread.start()
        return thread

    def text(self, prefix: str = "") -> list[str]:
        """The lines of an instance, without its name."""
        whose = [line.partition(" | ") for line in list(self.out)]
        return [text for name, _, text in whose if name.startswith(prefix)]

    def end(self, signum: signal.Signals | None = None) -> int:
        if signum is not None:
            self.process.send_signal(signum)
        code = self.process.wait(20)
        for thread in self._threads:
            thread.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()
        return code


@contextmanager
def following(wakeful: Wakeful, *arguments: str) -> Iterator[Logs]:
    """One that is attached."""
    logs = Logs(wakeful, "-f", *arguments)
    try:
        until(lambda: readers(wakeful) or logs.process.poll() is not None, "a reader")
        yield logs
    finally:
        logs.process.kill()
        logs.end()


def readers(wakeful: Wakeful) -> int:
    """Connections to its admin listener but for the one that asks."""
    found = Path("/proc/net/tcp").read_text().splitlines()
    port = f":{wakeful.admin:04X}"
    return sum(line.split()[1].endswith(port) and line.split()[3] == "01" for line in found)


def instances(wakeful: Wakeful, state: str = "ready") -> list[str]:
    """Their short names, the oldest first."""
    listed = json.loads(wakeful.ask("/v1/instances")[1])["instances"]
    return [
        one["instance"].removeprefix(f"{one['service']}-")
        for one in listed
        if one["state"] == state
    ]


def held(wakeful: Wakeful) -> list[int]:
    """Its open files, and its threads."""
    return [len(os.listdir(f"/proc/{wakeful.pid}/{what}")) for what in ("fd", "task")]


def memory(wakeful: Wakeful) -> int:
    """Bytes that are resident."""
    pages = int(Path(f"/proc/{wakeful.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_lines_of_two_instances_come_in_order_with_their_names(
    platform: Platform, launch: Launch
) -> None:
    two = writer(platform, min_instances=2, idle=AWAKE, concurrency=1)
    wakeful = launch({"hello": two}, runtime=platform.runtime)
    until(lambda: len(instances(wakeful)) == 2, "two instances")
    for number in range(6):
        wakeful.get("hello", f"/say?text=number-{number}{'&err=1' * (number % 2)}")

    asked = ("logs", "hello", "-c", str(wakeful.file))

    def whole() -> list[str]:
        return wakeful_command(*asked).stdout.splitlines()

    said = [f"number-{number}" for number in range(6)]
    until(lambda: len(whole()) == 2 + 6, "all lines")
    lines = [line.partition(" | ") for line in whole()]
    first, second = instances(wakeful)
    assert sorted({name for name, _, _ in lines}) == sorted([first, second])
    for name in (first, second):
        texts = [text for whose, _, text in lines if whose == name]
        assert texts[0] == "begun"
        if platform.runtime == "process":  # of two streams an engine may mix the order
            assert texts[1:] == [text for text in said if text in texts]
    assert sorted(text for _, _, text in lines)[2:] == said

    one = wakeful_command(*asked, "--instance", first[-8:], "--tail", "1")
    assert one.stdout.splitlines() == [[text for whose, _, text in lines if whose == first][-1]]
    bare = wakeful_command(*asked, "--no-prefix", "-n", "0")
    assert (bare.returncode, bare.stdout, bare.stderr) == (0, "", "")
    dated = wakeful_command(*asked, "-t", "--no-prefix").stdout.splitlines()
    time_of = "-" if platform.runtime == "process" else r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"
    assert all(re.fullmatch(f"{time_of} \\S+", line) for line in dated), dated


def test_following_sees_what_comes_goes_and_is_replaced(platform: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": writer(platform, idle=AWAKE)}, runtime=platform.runtime)
    with following(wakeful, "hello") as logs:
        assert wakeful.get("hello", "/say?text=one").status == 200
        until(lambda: logs.text() == ["begun", "one"], "what the first one wrote")

        wakeful.write({"hello": writer(platform, idle=AWAKE, env={"A": "b"})})
        wakeful.reload()
        until(lambda: logs.text("00002-") == ["begun"], "the second revision")
        until(lambda: any("ended: " in note for note in logs.notes), "the end of the first")
        assert wakeful.get("hello", "/say?text=two").status == 200
        until(lambda: "two" in logs.text("00002-"), "what it wrote")
        (end,) = logs.notes
        assert re.fullmatch(r"wakeful: 00001-[0-9a-f]{8} ended: (exit code|killed by) .*", end)
        assert logs.text("00001-") == ["begun", "one"]

        wakeful.write({"other": writer(platform)})
        wakeful.reload()
        assert logs.end() == 0
        assert logs.notes[-1] == "wakeful: the service was removed"
    until(lambda: readers(wakeful) == 0, "no reader")


def test_a_frozen_instance_can_be_read_and_its_next_words_followed(
    platform: Platform, launch: Launch
) -> None:
    idle = {"freeze-after": "1s"}
    wakeful = launch({"hello": writer(platform, idle=idle)}, runtime=platform.runtime)
    assert wakeful.get("hello", "/say?text=one").status == 200
    until(lambda: instances(wakeful, "resting"), "a frozen one")
    with following(wakeful, "hello") as logs:
        until(lambda: logs.text() == ["begun", "one"], "what it wrote")
        assert instances(wakeful, "resting")
        wakeful.get("hello", "/say?text=two")
        until(lambda: logs.text() == ["begun", "one", "two"], "what it writes")
        # By the keyboard of who follows.
        assert logs.end(signal.SIGINT) == 130
        assert logs.notes == []


def test_of_one_that_failed_the_last_lines_are_kept(platform: Platform, launch: Launch) -> None:
    wakeful = launch({"broken": writer(platform, "exit")}, runtime=platform.runtime)
    with following(wakeful, "broken") as logs:
        assert wakeful.get("broken").reason == "start_failed"
        until(lambda: any("exit code 3" in note for note in logs.notes), "its end")
        until(lambda: sorted(logs.text()[:2]) == ["begun", "no database"], "what it wrote")
    until(lambda: wakeful.instances("broken") == 0, "nothing left of it")
    asked = wakeful_command("logs", "broken", "-c", str(wakeful.file))
    assert asked.returncode == 0
    assert sorted(line.partition(" | ")[2] for line in asked.stdout.splitlines()) == [
        "begun",
        "no database",
    ]
    assert "instance exited at start: exit code 3" in asked.stderr


def test_what_is_no_text_and_long_lines_come_as_they_are(
    platform: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": writer(platform, idle=AWAKE)}, runtime=platform.runtime)
    wakeful.get("hello", "/bytes")
    wakeful.get("hello", "/say?text=after")
    with following(wakeful, "hello", "--no-prefix") as logs:
        until(lambda: logs.out[-1:] == ["after"], "all of it")
    # The usual logging driver of Docker keeps text, in which it replaces what is none.
    kept = b"\xff\xfe" if platform.runtime == "process" else "\ufffd\ufffd".encode()
    begun, odd, *rest = logs.out
    assert (begun, *rest) == ("begun", "x" * 100_000, "after")
    assert odd.encode("utf-8", "surrogateescape") == b"no " + kept + b" text"


@pytest.mark.timeout(240)
def test_who_reads_slowly_gets_every_line_and_makes_nobody_hold_them(
    platform: Platform, launch: Launch
) -> None:
    services = {"loud": writer(platform, "loud", idle=AWAKE), "hello": writer(platform, idle=AWAKE)}
    wakeful = launch(services, runtime=platform.runtime)
    assert wakeful.get("loud").status == wakeful.get("hello").status == 200
    before = memory(wakeful)

    client = http.client.HTTPConnection("127.0.0.1", wakeful.admin, timeout=60)
    client.connect()
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
    client.request("GET", "/v1/services/loud/logs")
    answer = client.getresponse()
    data = answer.read(100)
    for _ in range(10):  # it takes what it would take, if it did
        assert wakeful.get("hello").status == 200
        time.sleep(0.1)
    assert memory(wakeful) - before < 4 * 2**20  # of the 7 MB that there are
    data += answer.read()
    client.close()
    lines = data.decode().splitlines()
    texts = [line.split(" ", 4)[4] for line in lines if " - note " not in line]
    dots = "." * 60
    assert texts[0] == "begun"
    assert texts[1:] == [f"line {number} {dots}" for number in range(100_000)]


def test_readers_that_leave_take_everything_along(platform: Platform, launch: Launch) -> None:
    services = {
        "hello": writer(platform, min_instances=2, idle=AWAKE),
        "loud": writer(platform, "loud", idle=AWAKE),
    }
    wakeful = launch(services, runtime=platform.runtime)
    until(lambda: len(instances(wakeful)) == 2, "two instances")
    assert wakeful.get("loud").status == 200

    def visit() -> None:
        clients = []
        for service in ("hello", "hello", "loud", "loud"):  # of loud it does not take all
            client = socket.create_connection(("127.0.0.1", wakeful.admin), timeout=20)
            client.sendall(f"GET /v1/services/{service}/logs?follow=1 HTTP/1.1\r\n".encode())
            client.sendall(b"Host: here\r\n\r\n")
            _, begun = read_head(client)
            assert begun or client.recv(1)
            clients.append(client)
        for client in clients:
            client.close()

    visit()
    until(lambda: readers(wakeful) == 0, "no reader")
    before = held(wakeful)
    for _ in range(5):
        visit()
    # Threads that make calls may have become all that there will be, eight, each with a
    # connection; twenty readers would have left more.
    until(
        lambda: all(now <= then + 8 for now, then in zip(held(wakeful), before, strict=True)),
        f"no more than {before} files and threads",
    )


def test_readers_are_bounded_and_more_are_told_so(processes: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": writer(processes)})
    clients = []
    for _ in range(16):
        client = socket.create_connection(("127.0.0.1", wakeful.admin), timeout=20)
        client.sendall(b"GET /v1/services/hello/logs?follow=1 HTTP/1.1\r\nHost: here\r\n\r\n")
        assert read_head(client)[0].startswith(b"HTTP/1.1 200 ")
        clients.append(client)
    asked = wakeful_command("logs", "hello", "-c", str(wakeful.file))
    assert asked.returncode == 1
    assert asked.stderr == "wakeful: 16 readers of logs are the most: end one of them\n"
    clients.pop().close()
    until(lambda: wakeful_command("logs", "hello", "-c", str(wakeful.file)).returncode == 0, "room")
    for client in clients:
        client.close()


def test_wakeful_ends_in_time_whoever_follows_and_says_so(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": writer(processes), "loud": writer(processes, "loud")})
    assert wakeful.get("hello").status == wakeful.get("loud").status == 200
    with (
        following(wakeful, "hello") as logs,
        socket.create_connection(("127.0.0.1", wakeful.admin), timeout=20) as stuck,
    ):
        stuck.sendall(b"GET /v1/services/loud/logs?follow=1 HTTP/1.1\r\nHost: here\r\n\r\n")
        read_head(stuck)
        until(lambda: logs.text() == ["begun"], "what it wrote")
        assert wakeful.stop() == 0
        assert logs.end() == 0
        assert logs.text() == ["begun"]
        assert logs.notes[-1] == "wakeful: wakeful ends"


def test_a_wakeful_that_is_killed_is_missed(processes: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": writer(processes)})
    assert wakeful.get("hello").status == 200
    with following(wakeful, "hello") as logs:
        until(lambda: logs.text() == ["begun"], "what it wrote")  # so it was answered
        wakeful.kill()
        assert logs.end() == 1
        assert logs.notes == ["wakeful: wakeful has gone away"]
    wakeful.start()


def test_a_pipe_that_is_closed_ends_it_quietly(processes: Platform, launch: Launch) -> None:
    wakeful = launch({"loud": writer(processes, "loud", idle=AWAKE), "hello": writer(processes)})
    assert wakeful.get("loud").status == wakeful.get("hello").status == 200
    for arguments in ("loud", "-f loud", "-f hello"):  # hello is silent after its first line
        command = f"{sys.executable} -m wakeful logs -c {wakeful.file} {arguments} | head -n 1"
        piped = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (piped.returncode, piped.stderr) == (0, ""), arguments
        assert piped.stdout.endswith(" | begun\n")
    until(lambda: readers(wakeful) == 0, "no reader")


def test_what_there_is_not_is_an_error_with_what_there_is(
    processes: Platform, launch: Launch
) -> None:
    fixed = {"upstreams": ["127.0.0.1:9"]}
    wakeful = launch({"hello": writer(processes), "other": writer(processes), "fixed": fixed})

    def said(*arguments: str) -> tuple[int, str]:
        asked = wakeful_command("logs", "-c", str(wakeful.file), *arguments)
        assert asked.stdout == ""
        return asked.returncode, asked.stderr.splitlines()[-1]

    assert said("helo") == (1, "wakeful: no service helo; known: hello, other, fixed")
    assert said("a?b") == (1, "wakeful: no service a?b; known: hello, other, fixed")
    assert said("fixed") == (1, "wakeful: fixed has fixed upstreams, whose output is not here")
    assert said("hello", "--instance", "x") == (
        1,
        "wakeful: hello has no instance x; nothing of it runs",
    )
    assert said("hello") == (0, "wakeful: nothing runs, and of what ran nothing is kept")
    assert said("hello", "--since", "yesterday")[0] == 2
    assert said("hello", "-n", "-1")[0] == 2
    assert wakeful.get("hello").status == 200
    code, text = said("hello", "--since", "10m")
    assert code == 1
    assert text.endswith("the output of processes is kept without times; ask for its tail")
    assert wakeful.ask("/v1/services/hello/logs?tail=x")[0] == 400
    address = f"127.0.0.1:{free_port()}"
    code, text = said("hello", "--admin", address)
    assert code == 1
    assert text.startswith(f"wakeful: no wakeful answers at {address} (connection refused); ")


@pytest.mark.docker
def test_since_leaves_out_what_is_older(containers: Platform, launch: Launch) -> None:
    wakeful = launch({"hello": writer(containers, idle=AWAKE)}, runtime="docker")
    assert wakeful.get("hello", "/say?text=one").status == 200
    asked = ("logs", "hello", "-c", str(wakeful.file), "--no-prefix")
    until(lambda: "one" in wakeful_command(*asked).stdout, "a line")
    stamp = wakeful_command(*asked, "-t").stdout.splitlines()[-1].split()[0]
    later = stamp[:-4] + "Z"  # to the microsecond, rounded down: the line itself is not older
    assert wakeful_command(*asked, "--since", later).stdout == "one\n"
    assert wakeful_command(*asked, "--since", "10m").stdout == "begun\none\n"
    assert wakeful_command(*asked, "--since", "2999-01-01").stdout == ""
