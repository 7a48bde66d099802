from __future__ import annotations

import asyncio

import pytest

from wakeful.clock import run_simulated
from wakeful.config.model import Readiness, Revision, Template
from wakeful.runtime.driver import DriverError, EngineUnavailable, ImageNotFound, OutputGone
from wakeful.runtime.instance import Exit, Found, InstanceId
from wakeful.runtime.memory import MemoryDriver, Script, Started, Stopped
from wakeful.runtime.output import Asked

HELLO = Revision("hello", 1, Template(image="hello:1"))
A, B = InstanceId("a"), InstanceId("b")


def now() -> float:
    return asyncio.get_running_loop().time()


async def opened(*scripts: Script) -> tuple[MemoryDriver, list[Exit]]:
    driver, exits = MemoryDriver(), list[Exit]()
    driver.upcoming.extend(scripts)
    await driver.open(exits.append)
    return driver, exits


def test_a_start_takes_as_long_as_its_script_says_and_then_it_listens() -> None:
    async def story() -> None:
        driver, _ = await opened(Script(start=2, listen=3))
        address = (await driver.start(HELLO, A)).address
        assert now() == pytest.approx(2)
        await driver.probe(address, Readiness()).passed()
        assert now() == pytest.approx(5)

    run_simulated(story())


def test_scripts_are_used_in_order_and_then_the_default() -> None:
    async def story() -> None:
        driver, _ = await opened(Script(start=1), Script(start=2))
        driver.default = lambda revision: Script(start=revision.generation * 10)
        for instance in (A, B, InstanceId("c")):
            await driver.start(HELLO, instance)
        assert now() == pytest.approx(13)
        assert [(s.at, s.instance) for s in driver.starts] == [(0, A), (1, B), (3, "c")]

    run_simulated(story())


def test_a_failing_start_leaves_nothing() -> None:
    async def story() -> None:
        driver, exits = await opened(Script(start=1, failure=ImageNotFound("no such image")))
        with pytest.raises(ImageNotFound, match="no such image"):
            await driver.start(HELLO, A)
        assert await driver.instances() == []
        assert exits == []
        assert driver.starts == [Started(0, A, "hello-00001")]

    run_simulated(story())


def test_an_instance_that_never_listens_never_passes() -> None:
    async def story() -> None:
        driver, _ = await opened(Script(listen=None))
        address = (await driver.start(HELLO, A)).address
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100_000):
                await driver.probe(address, Readiness()).passed()

    run_simulated(story())


def test_an_instance_ends_by_itself_when_its_lifetime_is_over() -> None:
    async def story() -> None:
        driver, exits = await opened(Script(start=1, lifetime=5, ending="out of memory"))
        address = (await driver.start(HELLO, A)).address
        await asyncio.sleep(4.9)
        assert len(await driver.instances()) == 1
        await asyncio.sleep(0.2)
        assert exits == [Exit(A, "out of memory")]
        assert await driver.instances() == []
        assert driver.listens_at(address) is None

    run_simulated(story())


def test_a_crash_is_an_exit_and_the_output_stays_until_it_is_stopped() -> None:
    async def story() -> None:
        driver, exits = await opened(Script(output=("one", "two", "three")))
        await driver.start(HELLO, A)
        driver.crash(A, "exit code 3")
        assert exits == [Exit(A, "exit code 3")]
        assert await driver.tail(A, 2) == ["two", "three"]
        await driver.stop(A, 10)
        assert await driver.tail(A, 2) == []
        assert exits == [Exit(A, "exit code 3")]

    run_simulated(story())


@pytest.mark.parametrize(
    ("goodbye", "took", "detail"),
    [(3, 3, "exit code 0"), (30, 10, "killed by signal 9")],
)
def test_a_stop_lasts_until_the_instance_leaves_or_its_grace_is_over(
    goodbye: float, took: float, detail: str
) -> None:
    async def story() -> None:
        driver, exits = await opened(Script(start=0, goodbye=goodbye))
        await driver.start(HELLO, A)
        await driver.stop(A, 10)
        assert now() == pytest.approx(took)
        assert exits == [Exit(A, detail)]
        assert driver.stops == [Stopped(0, A)]

    run_simulated(story())


def test_a_crash_while_it_is_being_stopped_is_still_one_exit() -> None:
    async def story() -> None:
        driver, exits = await opened(Script(goodbye=3))
        await driver.start(HELLO, A)
        stop = asyncio.create_task(driver.stop(A, 10))
        await asyncio.sleep(1)
        driver.crash(A)
        driver.crash(A)
        await stop
        assert exits == [Exit(A, "exit code 1")]

    run_simulated(story())


def test_a_cancelled_start_leaves_nothing() -> None:
    async def story() -> None:
        driver, exits = await opened(Script(start=5))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await driver.start(HELLO, A)
        await asyncio.sleep(10)
        assert await driver.instances() == []
        assert exits == []

    run_simulated(story())


def test_instances_survive_a_close_and_are_found_again() -> None:
    async def story() -> None:
        driver, exits = await opened()
        address = (await driver.start(HELLO, A)).address
        await driver.close()
        again: list[Exit] = []
        await driver.open(again.append)
        assert await driver.instances() == [Found(A, "hello", "hello-00001", address)]
        driver.crash(A)
        assert again == [Exit(A, "exit code 1")]
        assert exits == []

    run_simulated(story())


def test_an_engine_that_is_away_refuses_everything() -> None:
    async def story() -> None:
        driver, _ = await opened()
        driver.available = False
        with pytest.raises(EngineUnavailable):
            await driver.start(HELLO, A)
        with pytest.raises(DriverError):
            await driver.instances()
        with pytest.raises(EngineUnavailable):
            await driver.open(lambda _: None)

    run_simulated(story())


def test_a_frozen_instance_does_not_answer_until_it_is_thawed() -> None:
    async def story() -> None:
        driver, _ = await opened(Script(start=0, listen=0, memory=7))
        address = (await driver.start(HELLO, A)).address
        await driver.probe(address, Readiness()).passed()
        driver.freeze(A, lambda _: None)
        assert driver.frozen(A)
        assert driver.listens_at(address) is None
        assert (await driver.usage(A)).memory == 7
        driver.thaw(A)
        await driver.probe(address, Readiness()).passed()
        driver.freeze(A, lambda _: None)
        assert [found.instance for found in await driver.instances()] == [A]
        assert not driver.frozen(A)

    run_simulated(story())


def test_one_whose_script_says_so_cannot_be_frozen() -> None:
    async def story() -> None:
        driver, _ = await opened(Script(start=0, freezable=False))
        await driver.start(HELLO, A)
        failed: list[InstanceId] = []
        driver.freeze(A, failed.append)
        assert failed == []
        await asyncio.sleep(0)
        assert failed == [A]
        assert not driver.frozen(A)
        driver.freeze(B, failed.append)  # one that is not there is no error
        assert (await driver.usage(B)).memory is None

    run_simulated(story())


def test_output_is_followed_from_its_tail_until_the_instance_has_ended() -> None:
    async def story() -> None:
        driver, _ = await opened(Script(output=("one", "two")))
        await driver.start(HELLO, A)

        async def follow() -> list[bytes]:
            asked = Asked(tail=1, follow=True)
            return [line.text async for lines in driver.output(A, asked) for line in lines]

        following = asyncio.create_task(follow())
        await asyncio.sleep(1)
        driver.say(A, "three")
        await asyncio.sleep(1)
        driver.say(A, "four")
        driver.crash(A)
        assert await following == [b"two", b"three", b"four"]
        assert await driver.tail(A, 2) == ["three", "four"]
        assert [x.text async for xs in driver.output(A, Asked(tail=0)) for x in xs] == []
        with pytest.raises(OutputGone):
            await anext(driver.output(B, Asked()))
        with pytest.raises(DriverError, match="no times"):
            await anext(driver.output(A, Asked(since=1)))

    run_simulated(story())
