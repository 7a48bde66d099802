"""What processes write, read and followed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest

from tests.runtime.processes import Here, new_id, python
from wakeful.runtime import process as module
from wakeful.runtime import process_log
from wakeful.runtime.driver import DriverError, OutputGone
from wakeful.runtime.output import NOTE, PIECE, Asked, Line
from wakeful.runtime.process_log import ProcessLog

FOLLOW = Asked(follow=True)

# Writes a line for each that it is told in a file, and ends with "bye".
PARROT = r"""
import os, signal, sys, time
said = 0
signal.signal(signal.SIGTERM, lambda *_: (print("bye", end="", flush=True), os._exit(0)))
print("begun", flush=True)
while True:
    lines = open("parrot", "rb").read().split(b"\n")[:-1] if os.path.exists("parrot") else []
    for line in lines[said:]:
        os.write(1 + said % 2, line + b"\n")
        said += 1
    time.sleep(0.005)
"""


async def texts(lines: AsyncGenerator[list[Line], None], until: str | None = None) -> list[str]:
    """All of them, or up to a line."""
    found: list[str] = []
    async with asyncio.timeout(20), aclosing(lines):
        async for some in lines:
            found += [line.text.decode("utf-8", "surrogateescape") for line in some]
            if until is not None and until in found:
                break
    return found


def read(path: Path, asked: Asked) -> list[str]:
    async def story() -> list[str]:
        ended = asyncio.Event()
        ended.set()
        return await texts(ProcessLog(path).lines(asked, ended, asyncio.to_thread))

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("tail", "expected"),
    [
        (None, ["one", "", "three", "four"]),
        (9, ["one", "", "three", "four"]),
        (4, ["one", "", "three", "four"]),
        (3, ["", "three", "four"]),
        (1, ["four"]),
        (0, []),
    ],
)
@pytest.mark.parametrize("end", ["", "\n"])
def test_the_last_lines_are_found_from_the_end(
    tail: int | None, expected: list[str], end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_log, "_BLOCK", 3)  # so that lines lie across the blocks
    log = tmp_path / "log"
    log.write_text("one\n\nthree\nfour" + end)
    assert read(log, Asked(tail=tail)) == expected


def test_an_empty_log_has_no_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    assert read(log, Asked()) == read(log, Asked(tail=3)) == []


def test_a_log_that_grows_faster_than_it_is_read_is_read_as_far_as_it_was(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("then\n" * 10_000)

    async def story() -> int:
        count = 0
        async for lines in ProcessLog(log).lines(Asked(), asyncio.Event(), asyncio.to_thread):
            count += len(lines)
            with log.open("a") as file:
                file.write("more\n" * 5_000)
        return count

    assert asyncio.run(story()) == 10_000


def test_what_a_process_writes_is_followed_until_it_has_ended(here: Here) -> None:
    async def story() -> None:
        async with here.opened() as (driver, _):
            instance = new_id()
            await driver.start(python(PARROT), instance)
            following = asyncio.create_task(texts(driver.output(instance, FOLLOW)))
            assert await texts(driver.output(instance, FOLLOW), until="begun") == ["begun"]
            (here.folder / "parrot").write_bytes(b"one\n\xff\xfe\n" + b"x" * 2 * PIECE + b"\n")
            await texts(driver.output(instance, FOLLOW), until="x" * PIECE)
            await driver.stop(instance, 5)
            begun, one, bad, *long, bye = await following
            assert (begun, one, bad, bye) == ("begun", "one", "\udcff\udcfe", "bye")
            assert "".join(long) == "x" * 2 * PIECE
            with pytest.raises(OutputGone):
                await texts(driver.output(instance, FOLLOW))

    asyncio.run(story())


def test_a_frozen_process_can_be_read(here: Here) -> None:
    async def story() -> None:
        async with here.opened() as (driver, _):
            instance = new_id()
            await driver.start(python(PARROT), instance)
            await texts(driver.output(instance, FOLLOW), until="begun")
            driver.freeze(instance, lambda _: None)
            assert await texts(driver.output(instance, Asked())) == ["begun"]
            await driver.stop(instance, 5)

    asyncio.run(story())


def test_a_log_that_is_cut_is_followed_beyond_it(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_log, "_LIMIT", 100)
    monkeypatch.setattr(module, "_LOG_CHECK", 0.005)
    # Nothing is left unread at the cut: the program waits for it.
    program = """
import os, time
for word in ("one", "two", "three"):
    print(word * 50, flush=True)
    while os.fstat(1).st_size:
        time.sleep(0.001)
print("last", flush=True)
time.sleep(600)
"""

    async def story() -> list[list[Line]]:
        async with here.opened() as (driver, _):
            instance = new_id()
            await driver.start(python(program), instance)
            found = []
            async with asyncio.timeout(20):
                async with aclosing(driver.output(instance, FOLLOW)) as lines:
                    async for some in lines:
                        found.append(some)
                        if some[-1].text == b"last":
                            break
            await driver.stop(instance, 0)
            return found

    found = [line for some in asyncio.run(story()) for line in some]
    said = [line.text.decode() for line in found if line.stream != NOTE]
    cuts = [line for line in found if line.stream == NOTE]
    # A cut comes before or after a line was read. What was lost is told of.
    expected = ["one" * 50, "two" * 50, "three" * 50, "last"]
    assert said == [line for line in expected if line in said]
    assert said[-1] == "last"
    assert bool(cuts) == (len(said) < len(expected))


def test_what_is_lost_by_a_cut_is_told_and_what_was_read_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_log, "_LIMIT", 10)
    monkeypatch.setattr(process_log, "_READ", 16)
    log = tmp_path / "log"
    log.write_text("the first line\n")

    async def story() -> list[str]:
        it = ProcessLog(log)
        ended = asyncio.Event()
        found = []
        async with aclosing(it.lines(FOLLOW, ended, asyncio.to_thread)) as lines:
            found += await anext(lines)
            it.trim()  # all of it has been read
            log.write_text("second line here\nunread, for the most part\n")
            found += await anext(lines)
            it.trim()
            log.write_text("the third\n")
            ended.set()
            async for some in lines:
                found += some
        return [line.text.decode() for line in found]

    monkeypatch.setattr(process_log, "_POLL", 0.001)
    assert asyncio.run(story()) == [
        "the first line",
        "second line here",
        "unread, for the",
        "its log had grown too long and was cut, with what was not read yet",
        "the third",
    ]


def test_a_file_is_closed_whenever_its_reader_leaves(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\n")

    def held() -> int:
        return sum(os.readlink(f"/proc/self/fd/{fd}") == str(log) for fd in listed())

    def listed() -> list[str]:
        return [fd for fd in os.listdir("/proc/self/fd") if os.path.islink(f"/proc/self/fd/{fd}")]

    async def story() -> None:
        lines = ProcessLog(log).lines(FOLLOW, asyncio.Event(), asyncio.to_thread)
        await anext(lines)
        assert held() == 1
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)  # it reads, in a thread
        waiting.cancel()
        await asyncio.wait([waiting])
        await lines.aclose()
        async with asyncio.timeout(10):
            while held():  # noqa: ASYNC110 (a thread has it for a moment)
                await asyncio.sleep(0.001)

    asyncio.run(story())


def test_since_is_refused_because_nobody_keeps_the_times(here: Here) -> None:
    async def story() -> None:
        async with here.opened() as (driver, _):
            instance = new_id()
            await driver.start(python(PARROT), instance)
            with pytest.raises(DriverError, match="without times"):
                await texts(driver.output(instance, Asked(since=1.0)))
            await driver.stop(instance, 0)

    asyncio.run(story())
