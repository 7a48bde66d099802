"""What drives the load, and what it reads from wrk."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks import children, load
from benchmarks.children import CannotMeasure, free_port, started
from benchmarks.plain_client import requests_to

# Of wrk 4.1.0.
WRK = """\
Running 2s test @ http://127.0.0.1:8080/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   601.60us  155.06us   4.31ms   91.40%
    Req/Sec    53.40k     2.55k   57.61k    61.90%
  Latency Distribution
     50%  588.00us
     75%  628.00us
     90%  688.00us
     99%    1.05ms
  111480 requests in 2.10s, 26.68MB read
Requests/sec:  53090.83
Transfer/sec:     12.71MB
"""


def test_the_report_of_wrk_is_read() -> None:
    assert load.parse_wrk(WRK) == load.Result(111480, 2.1, 0.588, 1.05, 0, bytes=27976008)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("999.00B", 999), ("1.50KB", 1536), ("3.00GB", 3 * 2**30), ("0.25TB", 2**38)],
)
def test_what_wrk_has_read_is_counted_in_powers_of_two(said: str, meant: int) -> None:
    assert load.parse_wrk(WRK.replace("26.68MB", said)).bytes == meant


def test_every_kind_of_failure_that_wrk_counts_is_an_error() -> None:
    failures = (
        "  Socket errors: connect 1, read 20, write 300, timeout 4000\n"
        "  Non-2xx or 3xx responses: 50000\n"
    )

    assert load.parse_wrk(WRK + failures).errors == 54321


def test_a_wrk_that_says_something_else_is_not_believed() -> None:
    with pytest.raises(CannotMeasure, match="unable to connect"):
        load.parse_wrk("unable to connect to 127.0.0.1:8080 Connection refused")


def test_without_wrk_and_nginx_our_own_client_measures_our_own_server(tmp_path: Path) -> None:
    port = free_port()
    server = str(Path(load.__file__).with_name("plain_server.py"))
    with started([sys.executable, server, str(port), "100"], tmp_path, name="server") as child:
        while True:
            try:
                seen = load.Generator(wrk=None, core=None).run(port, "a", 4, seconds=1)
                break
            except CannotMeasure:  # not yet listening
                assert child.alive
        used = child.cpu()

    assert seen.requests > 0
    assert seen.errors == 0
    assert 0 < seen.p50_ms <= seen.p99_ms
    assert seen.bytes >= seen.requests * 100
    assert used > 0


def test_what_is_uploaded_is_counted_whether_there_is_a_wrk_or_not(tmp_path: Path) -> None:
    port = free_port()
    server = str(Path(load.__file__).with_name("plain_server.py"))
    generator = load.Generator(wrk="/no/such/wrk", core=None)
    with started([sys.executable, server, str(port), "100"], tmp_path, name="server") as child:
        while True:
            try:
                seen = generator.run(port, "a", 2, 1, load.Requests(varied=True, upload=1_000_000))
                break
            except CannotMeasure:  # not yet listening
                assert child.alive

    assert seen.requests > 0
    assert seen.errors == 0
    assert seen.bytes == seen.requests * 1_000_000


def test_requests_are_the_same_or_all_differ() -> None:
    same, varied = requests_to("a", 0, False), requests_to("a", 3, True)

    assert next(same) == next(same) == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert next(varied) == (
        b"POST /?page=0 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nCookie: id=0\r\n\r\nxxx"
    )
    assert b" /?page=1 " in next(varied)


def test_our_own_client_counts_answers_that_are_not_2xx_as_errors(tmp_path: Path) -> None:
    port = free_port()
    script = (
        "import http.server as h\n"
        "class A(h.BaseHTTPRequestHandler):\n"
        "    protocol_version = 'HTTP/1.1'\n"
        "    def do_GET(self): self.send_error(503)\n"
        f"h.ThreadingHTTPServer(('127.0.0.1', {port}), A).serve_forever()\n"
    )
    with started([sys.executable, "-c", script], tmp_path, name="server") as child:
        while True:
            try:
                seen = load.Generator(wrk=None, core=None).run(port, "a", 1, seconds=1)
                break
            except CannotMeasure:
                assert child.alive

    assert seen.errors >= seen.requests > 0


def test_the_end_of_a_program_is_the_end_of_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "_GRACE", 2.0)
    # A shell that ignores SIGTERM and whose child does as well.
    command = "trap '' TERM; sh -c \"trap '' TERM; echo \\$\\$; while :; do :; done\" & wait"
    with started(["sh", "-c", command], tmp_path, name="family") as child:
        while not (said := child.output().strip()):
            pass
        assert child.rss() > 0
        while child.cpu() == 0:  # spent by the grandchild alone
            pass

    state = "gone"
    with suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{said}/stat").read_text().rpartition(")")[2].split()[0]
    assert state in ("gone", "Z")  # nobody may have collected it yet
