"""Who reads the output of services: in simulated time, with instances in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from wakeful.admin.log_lines import LogQuery
from wakeful.admin.outputs import MOST_READERS, MOST_STREAMS, Outputs, Refused
from wakeful.admin.reader import Reader
from wakeful.clock import run_simulated
from wakeful.config.model import HostPort, Revision, Service, Template
from wakeful.runtime.driver import OutputGone
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.runtime.output import Asked, Line

HELLO = Revision("hello", 1, Template(image="hello:1"))
A, B = InstanceId("hello-00001-a"), InstanceId("hello-00001-b")
FOLLOW = LogQuery("hello", Asked(follow=True), None)


class Engine(MemoryDriver):
    """Whether it has an instance may take it a while to say."""

    slowness = 0.0

    async def output(self, instance: InstanceId, asked: Asked) -> AsyncGenerator[list[Line], None]:
        there = instance in [found.instance for found in await self.instances()]
        await asyncio.sleep(self.slowness)
        if not there and self.slowness:
            raise OutputGone
        async with aclosing(super().output(instance, asked)) as pieces:
            async for lines in pieces:
                yield lines


class World:
    """Instances that are started by hand, as fleets would."""

    def __init__(self) -> None:
        self.driver = Engine(Script(start=0.0, listen=0.0))
        self.there: list[InstanceId] = []
        self.services = {"hello": Service("hello", HELLO.template)}
        self.outputs = Outputs(
            self.driver, lambda: self.services, lambda service: list(self.there), lambda: 0.0
        )

    async def start(self, instance: InstanceId, *said: str) -> None:
        self.there.append(instance)
        self.driver.upcoming.append(Script(start=0.0, output=said))
        await self.driver.start(HELLO, instance)
        self.outputs.came(HELLO, instance)

    async def fail(self, instance: InstanceId) -> None:
        """It ends, the fleet reports it, and it is removed."""
        self.driver.crash(instance, "exit code 3")
        last = await self.driver.tail(instance, 20)
        self.outputs.failed(HELLO, instance, "it failed", last)
        await self.driver.stop(instance, 0)
        self.there.remove(instance)

    @asynccontextmanager
    async def read(self, query: LogQuery = FOLLOW) -> AsyncIterator[list[str]]:
        """Lines as they come, without times; "over" when there are no more."""
        reader = self.outputs.open(query)
        seen: list[str] = []
        taking = asyncio.create_task(take(reader, seen))
        await settled()
        try:
            yield seen
        finally:
            taking.cancel()
            await asyncio.wait([taking])
            await reader.close()
            names = [task.get_name() for task in asyncio.all_tasks()]
            assert not [name for name in names if name.startswith("output of ")]


async def take(reader: Reader, seen: list[str]) -> None:
    async for piece in reader.pieces():
        for line in piece.decode().splitlines():
            instance, _, stream, _, text = line.split(" ", 4)
            seen.append(f"{instance.removeprefix('hello-00001-')} {stream} {text}")
    seen.append("over")


async def settled() -> None:
    """In simulated time all that can happen at once happens before a moment has passed."""
    await asyncio.sleep(2)


def simulated(story: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World()
        await world.driver.open(world.outputs.exited)
        await story(world)
        await asyncio.sleep(5)
        assert asyncio.all_tasks() == {asyncio.current_task()}  # nothing is left of any reader

    run_simulated(main())


def test_instances_are_followed_from_what_they_said_to_their_end() -> None:
    async def story(world: World) -> None:
        await world.start(A, "one")
        async with world.read() as seen:
            assert seen == ["a stdout one"]
            await world.start(B, "first")
            world.driver.say(A, "two")
            await settled()
            assert sorted(seen[1:]) == ["a stdout two", "b stdout first"]
            await world.driver.stop(A, 1)
            await settled()
            assert seen[3:] == ["a note ended: exit code 0"]

    simulated(story)


def test_a_tail_is_of_those_that_are_there_and_not_of_those_that_come() -> None:
    async def story(world: World) -> None:
        await world.start(A, "one", "two")
        async with world.read(LogQuery("hello", Asked(tail=1, follow=True), None)) as seen:
            await world.start(B, "one", "two")
            await settled()
            assert seen == ["a stdout two", "b stdout one", "b stdout two"]

    simulated(story)


def test_one_that_is_asked_for_before_it_is_there_is_followed_when_it_is() -> None:
    async def story(world: World) -> None:
        world.there.append(A)
        async with world.read() as seen:
            assert seen == []
            await world.start(A, "one")
            await settled()
            assert seen == ["a stdout one"]

    simulated(story)


def test_one_that_comes_while_it_is_looked_for_is_followed_from_its_first_line() -> None:
    async def story(world: World) -> None:
        world.driver.slowness = 1.0
        world.there.append(A)
        seen: list[str] = []
        reader = world.outputs.open(LogQuery("hello", Asked(tail=1, follow=True), None))
        taking = asyncio.create_task(take(reader, seen))
        await asyncio.sleep(0.5)
        await world.start(A, "one", "two")
        await settled()
        assert seen == ["a stdout one", "a stdout two"]
        taking.cancel()
        await reader.close()

    simulated(story)


def test_one_that_comes_before_the_reading_begins_is_followed_once() -> None:
    async def story(world: World) -> None:
        world.there.append(A)
        reader = world.outputs.open(FOLLOW)
        await world.start(A, "one")
        seen: list[str] = []
        taking = asyncio.create_task(take(reader, seen))
        await settled()
        world.driver.crash(A)
        await settled()
        assert seen == ["a stdout one", "a note ended: exit code 1"]
        taking.cancel()
        await reader.close()

    simulated(story)


def test_who_leaves_without_taking_what_is_there_leaves_nothing_behind() -> None:
    async def story(world: World) -> None:
        await world.start(A, "one")
        for instance in ("a", None):
            reader = world.outputs.open(LogQuery("hello", Asked(follow=True), instance))
            reading = reader.pieces()
            await anext(reading)
            for number in range(3):
                world.driver.say(A, str(number))
                await settled()
            if instance is None:
                reader.finish("it is over")
            await reading.aclose()
            await reader.close()

    simulated(story)


def test_instances_of_other_services_are_none_of_its_business() -> None:
    async def story(world: World) -> None:
        async with world.read() as seen:
            await world.driver.start(HELLO, A)
            world.outputs.came(Revision("other", 1, HELLO.template), A)
            world.driver.say(A, "one")
            await settled()
            assert seen == []

    simulated(story)


def test_the_one_instance_that_is_asked_for_is_followed_to_its_end() -> None:
    async def story(world: World) -> None:
        await world.start(A, "one")
        await world.start(B, "one")
        async with world.read(LogQuery("hello", Asked(follow=True), "b")) as seen:
            await world.start(InstanceId("hello-00001-c"), "one")
            await settled()
            world.driver.crash(B, "exit code 3")
            await settled()
            assert seen == ["b stdout one", "b note ended: exit code 3", "over"]

    simulated(story)


def test_of_one_that_failed_its_last_words_are_kept_until_another_one_fails() -> None:
    async def story(world: World) -> None:
        once = LogQuery("hello", Asked(), None)
        async with world.read(once) as seen:
            assert seen == ["- note nothing runs, and of what ran nothing is kept", "over"]
        await world.start(A, "one", "two")
        await world.fail(A)
        async with world.read(once) as seen:
            assert seen == ["a - one", "a - two", "a note it failed", "over"]
        await world.start(B, "three")
        async with world.read() as seen:
            assert seen == ["a - one", "a - two", "a note it failed", "b stdout three"]
        async with world.read(LogQuery("hello", Asked(), "b")) as seen:
            assert seen == ["b stdout three", "over"]
        async with world.read(LogQuery("hello", Asked(), "-a")) as seen:
            assert seen == ["a - one", "a - two", "a note it failed", "over"]
        await world.fail(B)
        async with world.read(once) as seen:
            assert seen == ["b - three", "b note it failed", "over"]

    simulated(story)


def test_of_one_that_failed_and_is_still_there_nothing_is_told_twice() -> None:
    async def story(world: World) -> None:
        await world.start(A, "one", "two")
        world.driver.crash(A)
        world.outputs.failed(HELLO, A, "it failed", ["two"])
        async with world.read(LogQuery("hello", Asked(), None)) as seen:
            assert seen == ["a stdout one", "a stdout two", "over"]

    simulated(story)


def test_last_words_are_bounded_and_forgotten_for_those_of_others() -> None:
    async def story(world: World) -> None:
        world.outputs.failed(HELLO, A, "it failed", ["x" * 10_000])
        async with world.read(LogQuery("hello", Asked(), None)) as seen:
            assert seen[0] == "a - " + "x" * 4096
        for number in range(100):
            other = Revision(f"s{number}", 1, HELLO.template)
            world.outputs.failed(other, B, "it failed", ["x"])
        async with world.read(LogQuery("hello", Asked(), None)) as seen:
            assert seen == ["- note nothing runs, and of what ran nothing is kept", "over"]

    simulated(story)


def test_one_that_is_gone_before_it_could_be_read_is_told_by_its_last_words() -> None:
    async def story(world: World) -> None:
        async with world.read() as seen:
            await world.start(A, "one")
            await world.fail(A)  # in the same turn of the loop
            await settled()
            assert seen == ["a - one", "a note it failed"]

    simulated(story)


def test_nothing_is_read_for_who_does_not_take_it() -> None:
    async def story(world: World) -> None:
        await world.start(A, "one")
        reader = world.outputs.open(FOLLOW)
        pieces = reader.pieces()
        assert b"one" in await anext(pieces)
        for number in range(1000):
            world.driver.say(A, str(number))
            await asyncio.sleep(0.01)
        # One piece waits here, one is in the hands of the task: the rest was not asked for.
        assert [b"0\n" in await anext(pieces), b"1\n" in await anext(pieces)] == [True, True]
        rest = await anext(pieces)
        assert rest.count(b"\n") == 998
        await pieces.aclose()
        await reader.close()

    simulated(story)


def test_a_service_that_is_removed_is_followed_to_the_end_of_its_instances() -> None:
    async def story(world: World) -> None:
        await world.start(A, "one")
        async with world.read() as seen:
            world.outputs.reloaded(["hello", "other"])
            await settled()
            assert seen == ["a stdout one"]
            world.outputs.reloaded(["other"])
            world.driver.say(A, "bye")
            await settled()
            assert seen[1:] == ["a stdout bye"]
            world.driver.crash(A)
            await settled()
            assert seen[2:] == [
                "a note ended: exit code 1",
                "- note the service was removed",
                "over",
            ]

    simulated(story)


def test_at_the_end_of_wakeful_readers_are_let_go_and_who_does_not_read_is_cut_off() -> None:
    async def story(world: World) -> None:
        await world.start(A, "one")
        async with world.read() as seen:
            stuck = world.outputs.open(FOLLOW)
            cut: list[Reader] = []
            stuck.cut = lambda: cut.append(stuck)
            closing = asyncio.create_task(world.outputs.close())
            await settled()
            assert seen == ["a stdout one", "- note wakeful ends", "over"]
            await closing
            assert cut == [stuck]
            with pytest.raises(Refused):
                world.outputs.open(FOLLOW)
            await stuck.close()

    simulated(story)


def test_readers_and_what_they_follow_are_bounded() -> None:
    async def story(world: World) -> None:
        readers = [world.outputs.open(FOLLOW) for _ in range(MOST_READERS)]
        with pytest.raises(Refused, match="16 readers of logs are the most"):
            world.outputs.open(FOLLOW)
        for reader in readers[1:]:
            await reader.close()
        for number in range(MOST_STREAMS + 1):
            await world.start(InstanceId(f"hello-00001-{number}"), "one")
        reading = readers[0].pieces()
        async with asyncio.timeout(10):
            pieces = [await anext(reading) for _ in range(MOST_STREAMS + 1)]
        assert sum(b" stdout F one" in piece for piece in pieces) == MOST_STREAMS
        assert sum(b" error F it is not followed, because" in piece for piece in pieces) == 1
        await reading.aclose()
        await readers[0].close()

    simulated(story)


def test_an_output_that_cannot_be_read_is_an_error_among_the_lines() -> None:
    async def story(world: World) -> None:
        await world.start(A, "one")
        for follow in (False, True):
            query = LogQuery("hello", Asked(since=1.0, follow=follow), "a")
            async with world.read(query) as seen:
                assert seen == ["a error what is in memory has no times", "over"]

    simulated(story)


def test_what_cannot_be_read_is_refused_with_a_reason() -> None:
    async def story(world: World) -> None:
        fixed = Template(upstreams=(HostPort("127.0.0.1", 1),))
        world.services["fixed"] = Service("fixed", fixed)
        for service, instance, why in (
            ("helo", None, "no service helo; known: hello, fixed"),
            ("fixed", None, "fixed has fixed upstreams, whose output is not here"),
            ("hello", "a", "hello has no instance a; nothing of it runs"),
        ):
            with pytest.raises(Refused, match=f"^{why}$") as refused:
                world.outputs.open(LogQuery(service, Asked(), instance))
            assert refused.value.status == 404

    simulated(story)
