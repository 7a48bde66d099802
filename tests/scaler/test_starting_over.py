"""Instances that ran before wakeful did, and those that it leaves."""

from __future__ import annotations

from tests.scaler.simulated_proxy import NAME, hello, now, until, world
from wakeful.clock import run_simulated as run
from wakeful.config.model import Scale
from wakeful.events import Load
from wakeful.runtime.instance import Address, Found, InstanceId
from wakeful.runtime.memory import Script


def found(instance: str, revision: str = NAME) -> Found:
    return Found(InstanceId(instance), "hello", revision, Address(instance, 8080))


def test_instances_that_run_already_are_adopted_and_count() -> None:
    async def main() -> None:
        async with world() as it:
            revision = hello(min_instances=2)
            for name in ("old-1", "old-2"):
                await it.driver.start(revision, InstanceId(name))
            it.driver.starts.clear()

            it.add(revision)
            assert it.scaler.adopt(found("old-1"))
            assert it.scaler.adopt(found("old-2"))
            await until(100)
            assert it.starts() == []
            assert it.status().ready == 2

    run(main())


def test_what_is_adopted_has_had_its_initial_scale_already() -> None:
    async def main() -> None:
        async with world(hello(scale=Scale(initial=3))) as it:
            await it.driver.start(hello(), InstanceId("old-1"))
            it.scaler.adopt(found("old-1"))
            await until(30)
            assert it.size() == 1

    run(main())


def test_a_demand_whose_requests_have_left_starts_nothing() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            it.scaler.demand(NAME, Load(0, 1))
            it.scaler.demand(NAME, Load(0, 0))
            await until(10)
            assert it.starts() == []
            assert it.scaler.awake == ()

    run(main())


def test_instances_of_revisions_nobody_knows_are_not_adopted() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            assert not it.scaler.adopt(found("old-1", "hello-00007"))

    run(main())


def test_adopted_instances_are_kept_for_a_window_though_their_traffic_is_unknown() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            for name in ("old-1", "old-2", "old-3"):
                await it.driver.start(hello(), InstanceId(name))
                it.scaler.adopt(found(name))
            await until(60)
            assert it.size() == 3
            await until(70)
            assert it.size() == 0

    run(main())


def test_leaving_leaves_the_instances_and_starts_nothing_more() -> None:
    async def main() -> None:
        async with world(hello()) as it:
            it.send(NAME, duration=100)
            await until(20)
            await it.scaler.close(leave=True)
            it.send(NAME, duration=1)
            it.scaler.demand(NAME, Load(0, 100))
            it.observe()
            it.driver.crash(InstanceId("hello-1"))
            await until(30)
            assert (it.starts(), it.stops()) == ([0], [])

    run(main())


def test_closing_stops_what_runs_and_replaces_nothing() -> None:
    async def main() -> None:
        async with world(hello(min_instances=2), script=Script(goodbye=3)) as it:
            await until(5)
            await it.scaler.close(leave=False)
            assert now() == 8
            assert await it.driver.instances() == []
            assert len(it.starts()) == 2

    run(main())
