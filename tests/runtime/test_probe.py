"""Probes against real sockets on loopback."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing

import pytest
import uvloop

from wakeful.config.model import Readiness
from wakeful.runtime.instance import Address
from wakeful.runtime.probe import Probe, pause, ready

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

HEALTHZ = Readiness(path="/healthz")


def free_port() -> int:
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


@asynccontextmanager
async def serving(answer: Answer, port: int = 0) -> AsyncIterator[Address]:
    async def and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(and_close, "127.0.0.1", port)
    try:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        await server.wait_closed()


def saying(*responses: bytes) -> Answer:
    """Each request gets the next of the responses, and the last one from then on."""
    left = list(responses)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():
            writer.write(left.pop(0) if len(left) > 1 else left[0])

    return answer


async def failing(probe: Probe, failure: str) -> None:
    """Let the probe try until it says ``failure``, and see that it does not pass."""
    passed = asyncio.create_task(probe.passed())
    try:
        async with asyncio.timeout(10):
            while probe.last_failure != failure:
                assert not passed.done()
                await asyncio.sleep(0.001)
    except TimeoutError:
        pytest.fail(f"last failure: {probe.last_failure}")
    finally:
        passed.cancel()
        await asyncio.wait([passed])


def test_a_port_that_is_refused_passes_once_somebody_listens() -> None:
    async def story() -> None:
        address = Address("127.0.0.1", free_port())
        probe = Probe(address, Readiness())
        await failing(probe, "connection refused")
        passed = asyncio.create_task(probe.passed())
        await asyncio.sleep(0)
        async with serving(saying(b""), address.port):
            await asyncio.wait_for(passed, 10)

    asyncio.run(story())


def test_without_a_path_nothing_is_sent() -> None:
    received = asyncio.Queue[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.read())

    async def story() -> None:
        async with serving(answer) as address:
            await ready(address, Readiness())
            assert await received.get() == b""

    asyncio.run(story())


def test_a_probe_is_a_plain_request_that_names_itself() -> None:
    received = asyncio.Queue[bytes]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def story() -> None:
        async with serving(answer) as address:
            await ready(address, Readiness(path="/healthz?deep=1"))
            line, *headers = (await received.get()).decode().split("\r\n")[:-2]
            assert line == "GET /healthz?deep=1 HTTP/1.1"
            assert set(headers) >= {
                f"Host: 127.0.0.1:{address.port}",
                "User-Agent: wakeful-probe",
                "Connection: close",
            }

    asyncio.run(story())


@pytest.mark.parametrize("status", ["200 OK", "204 No Content", "200", "302 Found", "399 X"])
def test_2xx_and_3xx_are_success(status: str) -> None:
    async def story() -> None:
        async with serving(saying(f"HTTP/1.1 {status}\r\n\r\n".encode())) as address:
            await asyncio.wait_for(ready(address, HEALTHZ), 10)

    asyncio.run(story())


@pytest.mark.parametrize("status", [404, 500, 503, 400, 101])
def test_other_answers_are_failures_that_can_be_told(status: int) -> None:
    async def story() -> None:
        response = f"HTTP/1.1 {status} Word\r\n\r\n".encode()
        async with serving(saying(response)) as address:
            await failing(Probe(address, HEALTHZ), f"GET /healthz answered {status}")

    asyncio.run(story())


def test_an_instance_that_answers_with_errors_first_passes_when_it_recovers() -> None:
    async def story() -> None:
        early, then = b"HTTP/1.1 503 Not Yet\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n"
        async with serving(saying(early, early, then)) as address:
            await asyncio.wait_for(ready(address, HEALTHZ), 10)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("response", "failure"),
    [
        (b"", "GET /healthz: closed without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "GET /healthz: answered, but not in HTTP/1"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "GET /healthz: answered, but not in HTTP/1"),
        (b"x" * 9000, "GET /healthz: answered, but not in HTTP/1"),
    ],
)
def test_what_is_not_http_is_called_that(response: bytes, failure: str) -> None:
    async def story() -> None:
        async with serving(saying(response)) as address:
            await failing(Probe(address, HEALTHZ), failure)

    asyncio.run(story())


def test_an_answer_that_does_not_come_is_given_up_and_asked_for_again() -> None:
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            await reader.read()  # until the probe hangs up
        else:
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async def story() -> None:
        async with serving(answer) as address:
            probe = Probe(address, Readiness(path="/", timeout=0.05))
            await asyncio.wait_for(probe.passed(), 10)
            assert probe.last_failure == "GET / timed out"

    asyncio.run(story())


def test_a_connection_that_is_reset_is_a_failure_like_others() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    async def story() -> None:
        async with serving(answer) as address:
            await failing(Probe(address, HEALTHZ), "GET /healthz: connection reset by peer")

    asyncio.run(story())


def test_a_syn_that_nobody_answers_is_not_waited_for() -> None:
    """A listener whose backlog is full drops SYNs, as an interface that is not up yet does."""

    async def story() -> None:
        with closing(socket.socket()) as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = Address("127.0.0.1", listener.getsockname()[1])
            fillers = [socket.socket() for _ in range(4)]
            try:
                for filler in fillers:
                    filler.setblocking(False)
                    filler.connect_ex((address.host, address.port))
                # Longer than the timeout that a young instance is given.
                probe = Probe(address, Readiness(timeout=60))
                await failing(probe, "connect timed out")
            finally:
                for filler in fillers:
                    filler.close()

    asyncio.run(story())


def test_reaching_oneself_is_not_reaching_an_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connect to a free local port that gets that port as its source succeeds."""
    port = free_port()

    class BoundFirst(socket.socket):
        def __init__(self, *arguments: int) -> None:
            super().__init__(*arguments)
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.bind(("127.0.0.1", port))

    async def story() -> None:
        monkeypatch.setattr("wakeful.runtime.probe.socket.socket", BoundFirst)
        await failing(Probe(Address("127.0.0.1", port), Readiness()), "connection refused")

    asyncio.run(story())


def test_a_cancelled_probe_ends_and_no_longer_counts() -> None:
    async def story() -> None:
        probes = [Probe(Address("127.0.0.1", free_port()), HEALTHZ) for _ in range(3)]
        passing = [asyncio.create_task(probe.passed()) for probe in probes]
        await asyncio.sleep(0)
        assert Probe.running == 3
        for one in passing:
            one.cancel()
        await asyncio.wait(passing)
        assert all(one.cancelled() for one in passing)
        assert Probe.running == 0

    asyncio.run(story())


def test_the_application_is_not_cut_off_in_its_answer() -> None:
    """Head and body often come apart; leaving between them would reset the connection."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            listener.setblocking(False)
            address = Address("127.0.0.1", listener.getsockname()[1])
            passed = asyncio.create_task(ready(address, HEALTHZ))
            application, _ = await loop.sock_accept(listener)
            with application:
                await loop.sock_recv(application, 1000)
                await loop.sock_sendall(
                    application, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
                )
                for _ in range(5):  # the probe sees the head
                    await asyncio.sleep(0)
                await loop.sock_sendall(application, b"body")
                assert application.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
                await passed

    asyncio.run(story())


def test_attempts_are_dense_at_first_and_never_far_apart() -> None:
    assert pause(0.0, running=1) == 0.002
    assert pause(0.19, running=1) == 0.002
    assert pause(1.0, running=1) == 0.01
    assert pause(5.0, running=1) == 0.025
    assert pause(3600.0, running=1) == 0.05


def test_many_probes_share_one_budget_of_attempts() -> None:
    assert pause(0.0, running=1000) == 0.5
    assert pause(3600.0, running=1000) == 0.5


# A forwarder takes connections before anybody listens behind it


def forwarded(address: Address) -> Address:
    return Address(address.host, address.port, forwarded=True)


def test_a_forwarder_with_nobody_behind_it_does_not_pass() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")

    async def story() -> None:
        async with serving(hang_up) as address:
            probe = Probe(forwarded(address), Readiness())
            await failing(probe, "connection refused behind the published port")

    asyncio.run(story())


def test_a_forwarder_that_resets_does_not_pass() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        now = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, now)

    async def story() -> None:
        async with serving(reset) as address:
            await failing(Probe(forwarded(address), Readiness()), "connection reset by peer")

    asyncio.run(story())


@pytest.mark.parametrize("answer", [b"HTTP/1.1 501 No\r\n\r\n", b"garbage\n", b"x"])
def test_any_answer_through_a_forwarder_is_a_sign_of_life(answer: bytes) -> None:
    async def story() -> None:
        async with serving(saying(answer)) as address:
            await asyncio.wait_for(ready(forwarded(address), Readiness()), 10)

    asyncio.run(story())


def test_a_connection_that_is_held_in_silence_is_a_sign_of_life() -> None:
    async def story() -> None:
        over = asyncio.Event()

        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await over.wait()

        async with serving(listen) as address:
            await asyncio.wait_for(ready(forwarded(address), Readiness(timeout=0.05)), 10)
            over.set()

    asyncio.run(story())


def test_an_attempt_takes_no_thread() -> None:
    """uvloop's own sock_connect looks every address up in one."""

    async def story() -> None:
        before = len(os.listdir("/proc/self/task"))
        await failing(Probe(Address("127.0.0.1", free_port()), Readiness()), "connection refused")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            await Probe(Address("127.0.0.1", listener.getsockname()[1]), Readiness()).passed()
        assert len(os.listdir("/proc/self/task")) == before

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
