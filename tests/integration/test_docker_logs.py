"""The output of containers, read and followed on the real engine."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from docker.api.client import APIClient

from tests.integration.driving import new_id, opened
from tests.integration.relay import Relay, failed_connects_leak
from wakeful.config.model import Container, Logging, Revision, Template
from wakeful.runtime.docker import DockerDriver
from wakeful.runtime.driver import DriverError, EngineUnavailable, OutputGone
from wakeful.runtime.output import PIECE, STDERR, STDOUT, Asked, Line

pytestmark = pytest.mark.docker

FOLLOW = Asked(follow=True)
WAIT = "import signal; signal.sigwait([signal.SIGTERM])"
BOTH = r"""
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
os.write(1, b"one\n")
os.write(2, b"oh no\n")
os.write(1, b"\n")
os.write(1, b"x" * 50000 + b"\n")
os.write(1, b"ready\n")
signal.sigwait([signal.SIGTERM])
os.write(1, b"bye\n")
"""
COUNT = r"""
import time
for number in range(10**9):
    print(number, flush=True)
    time.sleep(0.002)
"""


def python(image: str, program: str, logging: Logging = Logging()) -> Revision:  # noqa: B008
    command = ("python3", "-c", program)
    template = Template(image=image, command=command, container=Container(logging=logging))
    return Revision("hello", 3, template)


async def read(
    lines: AsyncGenerator[list[Line], None], until: Callable[[list[Line]], bool] | None = None
) -> list[Line]:
    """All of them, or as many as it takes."""
    found: list[Line] = []
    async with asyncio.timeout(20), aclosing(lines):
        async for some in lines:
            found += some
            if until is not None and until(found):
                break
    return found


def said(text: bytes) -> Callable[[list[Line]], bool]:
    return lambda lines: any(line.text == text for line in lines)


def connections() -> int:
    """The descriptors of this process that are sockets."""
    links = (Path("/proc/self/fd") / fd for fd in os.listdir("/proc/self/fd"))
    return sum(os.path.lexists(link) and os.readlink(link).startswith("socket:") for link in links)


def test_both_streams_are_followed_with_their_times_until_the_end(
    app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance = new_id()
            await driver.start(python(app_image, BOTH), instance)
            following = asyncio.create_task(read(driver.output(instance, FOLLOW)))
            await read(driver.output(instance, FOLLOW), said(b"ready"))
            some = await read(driver.output(instance, Asked()))
            await driver.stop(instance, 5)
            lines = await following
            assert {line.time[:3] for line in lines} == {b"202"}
            assert [one.text for one in lines if one.stream == STDERR] == [b"oh no"]
            out = [line for line in lines if line.stream == STDOUT]
            assert [line.text for line in out[:2]] == [b"one", b""]
            assert [line.text for line in out[-2:]] == [b"ready", b"bye"]
            long = out[2:-2]
            assert b"".join(line.text for line in long) == b"x" * 50_000
            assert [line.whole for line in long] == [False] * (len(long) - 1) + [True]
            assert max(len(line.text) for line in lines) <= PIECE + 64
            assert [line for line in some if line.stream == STDOUT] == out[:-1]
            with pytest.raises(OutputGone, match="is not there any more"):
                await read(driver.output(instance, FOLLOW))

    asyncio.run(story())


@pytest.mark.parametrize(
    ("driver", "kept"),
    [("json-file", "a\N{REPLACEMENT CHARACTER}b".encode()), ("local", b"a\xffb")],
)
def test_what_is_no_text_comes_as_the_logging_driver_keeps_it(
    driver: str, kept: bytes, app_image: str, owner: str
) -> None:
    hello = python(app_image, r"import os; os.write(1, b'a\xffb\n')", Logging(driver, ()))

    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance = new_id()
            await driver.start(hello, instance)
            (line,) = await read(driver.output(instance, FOLLOW))
            assert line.text == kept
            await driver.stop(instance, 0)

    asyncio.run(story())


def test_a_tail_is_of_the_last_lines_and_since_of_those_that_are_not_older(
    app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance = new_id()
            program = f"print(*range(10), sep='\\n', flush=True); {WAIT}"
            await driver.start(python(app_image, program), instance)
            await read(driver.output(instance, FOLLOW), said(b"9"))
            last = await read(driver.output(instance, Asked(tail=2)))
            assert [line.text for line in last] == [b"8", b"9"]
            assert await read(driver.output(instance, Asked(tail=0))) == []
            assert len(await read(driver.output(instance, Asked(since=1.5)))) == 10
            assert await read(driver.output(instance, Asked(since=4e9))) == []
            await driver.stop(instance, 5)

    asyncio.run(story())


def test_a_frozen_instance_can_be_read(app_image: str, owner: str) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance = new_id()
            await driver.start(python(app_image, f"print('here', flush=True); {WAIT}"), instance)
            await read(driver.output(instance, FOLLOW), said(b"here"))
            driver.freeze(instance, lambda _: pytest.fail("it cannot be frozen"))
            await driver._freezer.settled(instance)
            assert [x.text for x in await read(driver.output(instance, Asked()))] == [b"here"]
            await driver.stop(instance, 5)

    asyncio.run(story())


def test_with_a_terminal_the_output_is_no_frames(
    engine: APIClient, app_image: str, owner: str
) -> None:
    instance = new_id()
    program = f"import sys; print('one'); print('two', file=sys.stderr); print('x' * 20000); {WAIT}"
    container = engine.create_container(
        app_image,
        ["python3", "-c", program],
        tty=True,
        labels={"wakeful.owner": owner, "wakeful.instance": instance},
    )
    engine.start(container)

    async def story() -> None:
        async with opened(owner) as (driver, _):
            following = driver.output(instance, FOLLOW)
            one, two, *long = await read(following, lambda lines: any(x.whole for x in lines[2:]))
            assert (one.text, two.text) == (b"one", b"two")
            assert {line.stream for line in (one, two, *long)} == {STDOUT}
            assert one.time[:3] == two.time[:3] == b"202"
            # An engine repeats the time inside of a line that it has cut.
            assert sum(line.text.count(b"x") for line in long) == 20_000
            await driver.stop(instance, 0)

    asyncio.run(story())


def test_what_a_logging_driver_does_not_keep_is_an_error_that_says_so(
    app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance = new_id()
            quiet = python(app_image, WAIT, logging=Logging(driver="none", options=()))
            await driver.start(quiet, instance)
            with pytest.raises(DriverError, match="logging driver none sends its output elsewhere"):
                await read(driver.output(instance, FOLLOW))
            await driver.stop(instance, 0)

    asyncio.run(story())


def test_whoever_leaves_takes_the_connection_along_and_no_thread_was_needed(
    app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance = new_id()
            await driver.start(python(app_image, COUNT), instance)
            await read(driver.output(instance, FOLLOW), said(b"1"))
            # Each thread that makes calls has a connection that it keeps.
            await asyncio.gather(*(driver.usage(instance) for _ in range(50)))
            before, threads = connections(), threading.active_count()

            followed = [driver.output(instance, FOLLOW) for _ in range(20)]
            for lines in followed:
                await anext(lines)
            assert connections() == before + 20
            waiting = [asyncio.ensure_future(read(lines)) for lines in followed[:10]]
            await asyncio.sleep(0)
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting)
            for lines in followed:
                await lines.aclose()
            async with asyncio.timeout(10):
                while connections() > before:  # noqa: ASYNC110 (a transport closes in a later turn)
                    await asyncio.sleep(0)
            assert threading.active_count() == threads
            await driver.stop(instance, 0)

    asyncio.run(story())


@failed_connects_leak
def test_a_stream_that_breaks_is_taken_up_again_behind_its_last_line(
    app_image: str, owner: str, relay: Relay
) -> None:
    async def story() -> None:
        driver = DockerDriver(owner)
        await driver.open(lambda _: None)
        try:
            instance = new_id()
            await driver.start(python(app_image, COUNT), instance)
            lines = driver.output(instance, FOLLOW)
            seen = list(await anext(lines))
            await asyncio.to_thread(relay.cut)
            relay.mend()
            async with asyncio.timeout(20):
                while len(seen) < 1000:
                    seen += await anext(lines)
            await lines.aclose()
            assert [line.text for line in seen] == [b"%d" % n for n in range(len(seen))]

            await asyncio.to_thread(relay.cut)
            with pytest.raises(EngineUnavailable):
                await read(driver.output(instance, FOLLOW))
            relay.mend()
            await driver.stop(instance, 0)
        finally:
            await driver.close()

    asyncio.run(story())
