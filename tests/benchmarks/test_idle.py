"""Connections that are held and do nothing."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import idle, load
from benchmarks.children import CannotMeasure, Child, free_port, started
from benchmarks.idle import Idle
from benchmarks.targets import Target
from tests.benchmarks.program import processes_of

_SERVER = str(Path(load.__file__).with_name("plain_server.py"))
# Answers once and says nothing of closing.
_CLOSING = """
import http.server as h, sys
class A(h.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.close_connection = True
h.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), A).serve_forever()
"""


def test_what_each_connection_takes_is_what_all_of_them_added() -> None:
    assert Idle("1", 1000, rss_before=13_000_000, rss_with=25_000_000).bytes_each == 12_000


def test_connections_are_held_and_let_go(tmp_path: Path) -> None:
    port = free_port()
    with started([sys.executable, _SERVER, str(port), "100"], tmp_path, name="server") as child:
        seen = when_listening(child, lambda: idle.measure(Target(port, "1", child), 300))

    assert seen.connections == 300
    assert 0 < seen.bytes_each < 100_000
    assert processes_of(tmp_path) == {}


def test_a_proxy_that_closes_what_should_be_idle_is_not_measured(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", _CLOSING, str(port)]
    with (
        started(command, tmp_path, name="server") as child,
        pytest.raises(CannotMeasure, match="20 idle connections: 20 were closed"),
    ):
        when_listening(child, lambda: idle.measure(Target(port, "1", child), 20))


def test_more_connections_than_there_may_be_descriptors_are_refused() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard in (resource.RLIM_INFINITY, -1):
        pytest.skip("there is no limit")
    with pytest.raises(CannotMeasure, match=f"the limit is {hard}"):
        idle.allow(hard)


def when_listening(child: Child, measure: Callable[[], Idle]) -> Idle:
    deadline = time.monotonic() + 20
    while True:
        try:
            return measure()
        except CannotMeasure as error:
            if "refused" not in str(error) or time.monotonic() > deadline:
                raise
            assert child.alive
