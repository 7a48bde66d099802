"""Instances that end by themselves, and starts that fail."""

from __future__ import annotations

from tests.scaler.simulated_proxy import NAME, Outcome, hello, until, world
from wakeful.clock import run_simulated as run
from wakeful.runtime.driver import DriverError, ImageNotFound
from wakeful.runtime.instance import Exit, InstanceId
from wakeful.runtime.memory import Script

NO_ROOM = Script(failure=DriverError("no room"))

# Instances that end by themselves


def test_an_instance_that_exits_is_replaced_at_once() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            it.send(NAME, duration=100)
            await until(20.5)
            it.driver.crash(InstanceId("hello-1"))
            await until(20.6)

            assert it.starts() == [0, 20.5]
            await until(21)
            assert it.status().ready == 1
            assert it.status().crashes == 1

    run(main())


def test_exits_of_instances_nobody_knows_are_ignored() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            it.scaler.exited(Exit(InstanceId("nobody"), "exit code 1"))
            await it.send(NAME, duration=1)
            it.scaler.exited(Exit(InstanceId("nobody"), "exit code 1"))
            assert it.starts() == [0]

    run(main())


# Starts that fail


def test_requests_for_a_broken_image_are_told_at_once_and_tries_are_spaced_out() -> None:
    async def main() -> None:
        broken = Script(start=0.5, failure=ImageNotFound("pull access denied"))
        async with world(hello(), script=broken) as it:
            outcomes = []
            for n in range(240):  # a client that asks every quarter of a second
                await until(n / 4)
                outcomes.append(it.send(NAME, duration=1))
            await until(61)

            assert it.starts() == [0, 1.5, 4, 8.5, 17, 33.5]
            assert {o.result().detail for o in outcomes} == {'image "hello:1" not found'}
            assert max(o.result().waited for o in outcomes) == 0.5
            assert it.status().starts_failed == 6

    run(main())


def test_nothing_is_tried_again_for_traffic_that_has_gone_away() -> None:
    async def main() -> None:
        async with world(hello(), script=Script(start=0.5, failure=DriverError("no"))) as it:
            await it.send(NAME, duration=1)
            await until(500)
            assert it.starts() == [0]
            assert it.scaler.awake == ()

    run(main())


def test_a_minimum_is_tried_again_without_any_traffic() -> None:
    async def main() -> None:
        broken = Script(start=0, failure=DriverError("no"))
        async with world(hello(min_instances=1), script=broken) as it:
            await until(60)
            # Delays of 1, 2, 4, 8, 16 seconds, each rounded up to the next tick.
            assert it.starts() == [0, 1, 3, 7, 15, 31]

            it.driver.default = Script()
            await until(70)
            assert it.status().ready == 1

    run(main())


def test_while_nothing_works_one_instance_tries_for_all() -> None:
    async def main() -> None:
        async with world(hello(concurrency=1, max_instances=3)) as it:
            it.driver.upcoming.extend([Script(start=0, failure=DriverError("no"))] * 3)
            for _ in range(3):
                it.send(NAME, duration=5)
            await until(2.5)
            for _ in range(3):
                it.send(NAME, duration=5)
            await until(2.9)
            assert it.starts() == [0, 0, 0, 2.5]

            await until(6)
            assert it.starts() == [0, 0, 0, 2.5, 3, 3]

    run(main())


def test_an_instance_that_never_listens_fails_its_requests_after_a_minute() -> None:
    async def main() -> None:
        async with world(hello(), script=Script(listen=None)) as it:
            outcome = await it.send(NAME, duration=1)
            assert outcome == Outcome(
                None, 60.0, "did not listen on port 8080 within 60s: connection refused"
            )
            await until(61)
            assert it.stops() == [60]

    run(main())


def test_requests_wait_on_while_one_of_several_starts_may_still_succeed() -> None:
    async def main() -> None:
        async with world(hello(concurrency=1, max_instances=2)) as it:
            it.driver.upcoming.append(Script(start=0.1, failure=DriverError("no")))
            first, second = it.send(NAME, duration=10), it.send(NAME, duration=10)
            await until(30)

            assert first.result() == Outcome("hello-2", 0.35)
            # What failed is tried again while the other is in use.
            assert second.result() == Outcome("hello-3", 3.35)
            assert it.starts() == [0, 0, 3]

    run(main())


def test_those_that_never_ran_are_forgotten_and_the_exit_of_one_that_did_is_not_missed() -> None:
    async def main() -> None:
        async with world(hello(min_instances=1), script=NO_ROOM) as it:
            await until(20_000)
            assert len(it.starts()) > 300
            assert len(it.scaler._belonging._revisions) <= 64
            it.driver.default = Script()
            await until(20_100)
            tried = len(it.starts())
            it.driver.crash(InstanceId(f"hello-{tried}"))
            await until(20_101)
            assert len(it.starts()) == tried + 1
            assert it.status().ready == 1

    run(main())
