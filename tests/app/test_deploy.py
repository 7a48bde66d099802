"""A change on its way to the users; see world for what is real in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.app.world import SHORT, World, now, until, world
from wakeful.clock import run_simulated
from wakeful.config.model import HostPort, Revision, Scale, Template
from wakeful.proxy.rollout import Share
from wakeful.runtime.driver import DriverError
from wakeful.runtime.instance import InstanceId
from wakeful.runtime.memory import Script

ONE, TWO, THREE = "hello-00001", "hello-00002", "hello-00003"


def run(main: Coroutine[Any, Any, None]) -> None:
    run_simulated(main)


def slow_from_the_second_on(revision: Revision) -> Script:
    return Script() if revision.generation == 1 else Script(listen=10)


def broken_from_the_second_on(revision: Revision) -> Script:
    return Script() if revision.generation == 1 else Script(failure=DriverError("no room"))


@asynccontextmanager
async def replacing(
    script: Script | Callable[[Revision], Script] = Script(),  # noqa: B008 (frozen)
    **settings: Any,
) -> AsyncIterator[World]:
    """A revision that serves, and the next of the same settings on its way."""
    async with world(script) as it:
        it.deploy(**settings)
        await it.send()
        it.deploy(**settings)
        yield it


# Ready first


def test_the_old_revision_serves_until_the_new_one_is_ready() -> None:
    async def main() -> None:
        async with world(slow_from_the_second_on) as it:
            it.deploy()
            assert await it.send() == f"{ONE} 0.35"

            await until(5)
            it.deploy()
            assert it.standing().message == "not ready yet"
            while now() < 15.2:
                assert await it.send() == f"{ONE} 0"
            await until(15.3)
            assert it.starts(TWO) == [5.0]
            assert await it.send() == f"{TWO} 0"

            standing = it.standing()
            assert (standing.latest_created, standing.latest_ready) == (TWO, TWO)
            assert (standing.traffic, standing.message) == ((Share(TWO, 100),), "")
            await until(18)
            assert await it.running() == {TWO: 1}
            assert ONE not in it.scaler
            assert ONE not in it.plane.throttlers

    run(main())


def test_what_was_asked_of_the_old_revision_is_answered_by_it_queue_included() -> None:
    async def main() -> None:
        async with world() as it:
            it.deploy(concurrency=1, max_instances=1)
            await it.send()
            held = [it.send(duration=3) for _ in range(4)]
            it.deploy(concurrency=1, max_instances=1)
            await until(2)
            assert await it.send() == f"{TWO} 0"
            answers = await asyncio.gather(*held)
            assert answers == [f"{ONE} {waited}" for waited in (0, 3, 6, 9)]
            await until(15)
            assert await it.running() == {TWO: 1}

    run(main())


def test_the_new_revision_has_as_many_instances_as_the_old_one_before_all_requests_come() -> None:
    async def main() -> None:
        async with world() as it:
            it.deploy(concurrency=2, max_instances=3)
            for _ in range(6):
                it.send(duration=20)
            await until(3)
            it.driver.upcoming.extend([Script(listen=1), Script(listen=1), Script(listen=4)])
            it.deploy(concurrency=2, max_instances=3)
            await until(7)
            assert it.starts(TWO) == [3.0, 3.0, 3.0]
            assert it.shares() == {ONE: 100}  # the third is still starting
            await until(7.5)
            assert it.shares() == {TWO: 100}
            answers = await asyncio.gather(*(it.send() for _ in range(6)))
            assert answers == [f"{TWO} 0"] * 6
            # They were started for what is to come, and get a window's time for it.
            await until(60)
            assert (await it.running())[TWO] == 3

    run(main())


def test_the_initial_scale_is_enough_when_no_more_of_it_starts() -> None:
    async def main() -> None:
        async with world() as it:
            it.deploy(concurrency=1)
            for _ in range(3):
                it.send(duration=30)
            await until(3)
            it.driver.upcoming.append(Script())
            it.driver.upcoming.extend([Script(start=2, failure=DriverError("no room"))] * 2)
            it.deploy(concurrency=1)
            await until(4.5)
            assert it.shares() == {ONE: 100}
            await until(6.5)
            assert it.shares() == {TWO: 100}

    run(main())


def test_a_larger_initial_scale_or_minimum_is_waited_for() -> None:
    async def main() -> None:
        async with world() as it:
            it.deploy()
            await it.send()
            it.driver.upcoming.extend([Script(), Script(), Script(listen=5)])
            it.deploy(scale=Scale(initial=2), min_instances=3)
            await until(4)
            assert it.shares() == {ONE: 100}
            await until(6)
            assert it.shares() == {TWO: 100}
            assert len(it.starts(TWO)) == 3

    run(main())


def test_what_is_asleep_is_replaced_at_once_and_nothing_is_started() -> None:
    async def main() -> None:
        async with world() as it:
            it.deploy()
            it.deploy()
            assert it.shares() == {TWO: 100}
            await until(100)
            assert it.driver.starts == []
            assert it.settled == ["hello"]
            assert ONE not in it.scaler
            assert await it.send() == f"{TWO} 0.35"

    run(main())


def test_an_initial_scale_of_zero_has_nothing_to_wait_for() -> None:
    async def main() -> None:
        async with world() as it:
            it.deploy()
            await it.send()
            it.deploy(scale=Scale(initial=0))
            assert it.shares() == {TWO: 100}

    run(main())


# What cannot start


def test_the_old_revision_goes_on_when_the_new_one_cannot_start_and_it_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> None:
        caplog.set_level(logging.INFO, "wakeful.deploy")
        async with world(broken_from_the_second_on) as it:
            it.deploy(concurrency=1)
            await it.send()
            await until(1)
            it.deploy(concurrency=1)
            await until(3)
            crowd = [it.send(duration=1) for _ in range(3)]
            # It is scaled for its traffic as ever.
            assert await asyncio.gather(*crowd) == [f"{ONE} 0", f"{ONE} 0.35", f"{ONE} 0.35"]
            while now() < 200:
                assert await it.send(duration=1) == f"{ONE} 0"

            # By the fleet's back-off, at the ticks: 1, 2, 4, 8, 16, 32, 60 s.
            gaps = [b - a for a, b in zip(it.starts(TWO), it.starts(TWO)[1:], strict=False)]
            assert gaps[0] < 4
            assert gaps[-1] >= 60
            assert len(gaps) >= 6
            standing = it.standing()
            assert (standing.latest_created, standing.latest_ready) == (TWO, ONE)
            assert standing.message == "no room"
            assert it.settled == []

            it.driver.default = Script()
            await until(270)
            assert await it.send() == f"{TWO} 0"

    run(main())
    first, failed = caplog.messages[:2]
    assert first == f"hello: {TWO} is started; {ONE} serves until it is ready"
    assert failed == (
        f"hello: {TWO} cannot take over: no room; {ONE} goes on serving, the next try is in 1 s"
    )
    assert caplog.messages[-1] == f"hello: {TWO} is ready and takes over from {ONE}"


def test_it_is_tried_again_when_nobody_asks_for_anything() -> None:
    async def main() -> None:
        async with replacing(broken_from_the_second_on, scale=SHORT) as it:
            await until(600)
            assert await it.running() == {}
            assert it.starts(TWO)[-1] > 500
            # The old one sleeps, and is known to work: it is woken.
            it.reload()
            assert await it.send() == f"{ONE} 0.35"
            it.driver.default = Script()
            await until(700)
            assert it.shares() == {TWO: 100}
            # It goes back to sleep: what was started for the switch is not kept for ever.
            assert await it.running() == {}

    run(main())


def test_the_newest_definition_wins() -> None:
    async def main() -> None:
        async with world() as it:
            it.deploy()
            await it.send()
            it.driver.upcoming.extend([Script(), Script(listen=None)])
            it.deploy(min_instances=2)  # one is ready, one never will be
            await until(5)
            assert it.shares() == {ONE: 100}
            assert await it.running() == {ONE: 1, TWO: 2}
            it.deploy()
            await until(6)
            assert it.shares() == {THREE: 100}
            await until(9)
            assert await it.running() == {THREE: 1}
            assert TWO not in it.scaler
            assert TWO not in it.plane.throttlers

    run(main())


def test_a_service_that_is_removed_takes_all_its_revisions_along() -> None:
    async def main() -> None:
        async with world(slow_from_the_second_on) as it:
            it.deploy("other")
            it.deploy()
            await it.send()
            it.deploy()
            await until(3)
            del it.services["hello"]
            it.reload()
            await until(6)
            assert await it.running() == {}
            await until(20)
            assert it.plane.routes.match(b"hello.localhost") is None
            assert [one.service for one in it.deployments.standings()] == ["other"]

    run(main())


def test_fixed_addresses_answer_until_an_instance_is_ready_and_take_over_at_once() -> None:
    async def main() -> None:
        async with world() as it:
            it.deploy(upstreams=(HostPort("127.0.0.1", 1),))
            assert await it.send() == f"{ONE} 0"
            it.deploy()
            assert await it.send(duration=0.3) == f"{ONE} 0"
            await until(1)
            assert await it.send() == f"{TWO} 0"
            await until(4)
            assert ONE not in it.plane.throttlers

            it.deploy(upstreams=(HostPort("127.0.0.1", 2),))
            assert await it.send() == f"{THREE} 0"
            await until(8)
            assert await it.running() == {}

    run(main())


def test_after_a_restart_what_served_goes_on_until_the_latest_is_ready() -> None:
    async def main() -> None:
        async with world(slow_from_the_second_on) as it:
            old = Revision("hello", 1, Template(image="hello:old"))
            await it.driver.start(old, InstanceId("found"))
            it.generations["hello"] = 1
            it.deploy(serving=old)
            (found,) = await it.driver.instances()
            assert it.scaler.adopt(found)
            assert (await it.send()).startswith(ONE)
            await until(9)
            assert await it.send() == f"{ONE} 0"
            await until(11)
            assert await it.send() == f"{TWO} 0"
            assert len(it.starts(ONE)) == 1
            await until(14)
            assert await it.running() == {TWO: 1}

    run(main())


# Step by step


def test_requests_move_step_by_step_and_the_old_revision_goes_at_the_end() -> None:
    async def main() -> None:
        async with replacing(rollout=10) as it:
            seen = []
            await until(0.5)
            for second in range(1, 12):
                # Ready at 0.8; 9 steps of 11 percent, a second apart.
                await until(second)
                seen.append(it.shares().get(TWO))
            assert seen == [1, 12, 23, 34, 45, 56, 67, 78, 89, 100, 100]
            assert it.standing().traffic == (Share(TWO, 100),)
            assert it.settled == ["hello"]
            await until(14)
            assert await it.running() == {TWO: 1}

    run(main())


def test_requests_meet_the_revisions_as_the_shares_say() -> None:
    async def main() -> None:
        async with replacing(rollout=600, concurrency=0) as it:
            await until(121)
            share = it.shares()[TWO]
            assert 15 <= share <= 25
            answers = await asyncio.gather(*(it.send() for _ in range(1000)))
            met = sum(answer.startswith(TWO) for answer in answers)
            assert share * 10 - 60 <= met <= share * 10 + 60
            assert not [answer for answer in answers if "refused" in answer]

    run(main())


def test_a_newer_revision_joins_those_that_are_on_their_way() -> None:
    async def main() -> None:
        async with replacing(rollout=10) as it:
            await until(5)
            assert it.shares() == {ONE: 55, TWO: 45}
            it.deploy(rollout=10)
            await until(5.4)
            assert it.shares() == {ONE: 55, TWO: 44, THREE: 1}
            assert it.standing().latest_ready == THREE
            await until(9.4)  # four steps
            assert it.shares() == {ONE: 55, THREE: 45}
            await until(11.4)
            assert TWO not in it.plane.throttlers
            await until(16)
            assert it.shares() == {THREE: 100}

    run(main())


def test_a_rollout_that_ends_while_a_newer_revision_is_awaited_settles_nothing() -> None:
    async def main() -> None:
        async with replacing(rollout=10) as it:
            await until(2)
            it.driver.default = Script(listen=30)
            it.deploy(rollout=10)
            await until(15)
            assert it.shares() == {TWO: 100}
            assert it.standing().pending
            assert it.settled == []
            await until(50)
            assert it.shares() == {THREE: 100}
            assert it.settled == ["hello"]

    run(main())


def test_a_service_that_is_removed_in_the_middle_of_a_rollout_stays_away() -> None:
    async def main() -> None:
        async with world() as it:
            it.deploy("other", rollout=10)
            it.deploy(rollout=10)
            await it.send()
            it.deploy(rollout=10)
            await until(4)
            assert len(it.shares()) == 2
            assert it.shares("other") == {"other-00001": 100}
            del it.services["hello"]
            it.reload()
            await until(20)
            assert it.plane.routes.match(b"hello.localhost") is None
            assert list(it.plane.throttlers) == ["other-00001"]

    run(main())


def test_a_rollout_ends_at_once_when_its_duration_is_taken_away() -> None:
    async def main() -> None:
        async with replacing(rollout=600) as it:
            await until(60)
            it.reload()
            assert it.shares()[ONE] > 80
            it.set_rollout(0)
            assert it.shares() == {TWO: 100}
            await until(64)
            assert list(it.plane.throttlers) == [TWO]

    run(main())


def test_a_way_back_does_not_have_to_be_gradual() -> None:
    async def main() -> None:
        async with replacing(rollout=600) as it:
            await until(60)
            it.deploy()
            await until(61)
            assert it.shares() == {THREE: 100}

    run(main())


# Shares that are given by hand


def test_what_is_pinned_has_its_share_at_once_and_the_latest_the_rest() -> None:
    async def main() -> None:
        async with world() as it:
            one = it.deploy()
            it.deploy()
            await until(3)
            assert ONE not in it.scaler  # it was never asked for
            it.pin((one, 80))
            assert it.shares() == {ONE: 80, TWO: 20}
            it.deploy()  # what sleeps is replaced at once, in its share
            assert it.shares() == {ONE: 80, THREE: 20}
            it.pin((one, 90))
            assert it.shares() == {ONE: 90, THREE: 10}
            assert it.standing().traffic == (Share(ONE, 90), Share(THREE, 10))
            answers = await asyncio.gather(*(it.send() for _ in range(500)))
            assert not [answer for answer in answers if "refused" in answer]
            assert 420 <= sum(answer.startswith(ONE) for answer in answers) <= 480

            it.pin()
            assert it.shares() == {THREE: 100}
            await until(8)
            assert set(await it.running()) == {THREE}
            assert list(it.plane.throttlers) == [THREE]

    run(main())


def test_a_new_revision_moves_within_the_share_of_the_latest() -> None:
    async def main() -> None:
        async with world() as it:
            one = it.deploy(rollout=10)
            await it.send()
            it.deploy(rollout=10)
            it.pin((one, 60))
            await until(3.5)
            # Ready at 0.8. 39 percent in nine steps of four, a second apart.
            assert it.shares() == {ONE: 91, TWO: 9}
            await until(15)
            assert it.shares() == {ONE: 60, TWO: 40}
            it.deploy(rollout=10)
            await until(15.5)
            assert it.shares() == {ONE: 60, TWO: 39, THREE: 1}
            await until(17)
            it.set_rollout(0)
            assert it.shares() == {ONE: 60, THREE: 40}
            await until(30)
            assert TWO not in it.plane.throttlers

    run(main())


def test_the_latest_may_have_nothing_and_is_known_to_start_all_the_same() -> None:
    async def main() -> None:
        async with world(broken_from_the_second_on) as it:
            one = it.deploy()
            await it.send()
            it.pin((one, 100))
            it.deploy()
            await until(30)
            assert it.shares() == {ONE: 100}
            assert it.standing().message == "no room"
            it.driver.default = Script()
            await until(100)
            assert it.shares() == {ONE: 100}
            assert (it.standing().latest_ready, it.standing().pending) == (TWO, False)
            assert it.standing().traffic == (Share(ONE, 100),)
            assert await it.send() == f"{ONE} 0.35"
            it.pin()
            assert it.shares() == {TWO: 100}
            await until(104)
            assert list(it.plane.throttlers) == [TWO]

    run(main())


# Whatever happens

STORY = st.lists(
    st.tuples(st.sampled_from(["deploy", "send", "wait", "reload", "pin"]), st.integers(0, 9)),
    max_size=25,
)
SCRIPTS = st.builds(
    Script,
    start=st.sampled_from([0, 0.25, 4]),
    failure=st.sampled_from([None, None, DriverError("no")]),
    listen=st.sampled_from([0.1, 2, None]),
    lifetime=st.none(),
)


@settings(max_examples=100, deadline=None)
@given(story=STORY, scripts=st.lists(SCRIPTS, min_size=1, max_size=6), rollout=st.booleans())
def test_no_deployment_costs_a_request(
    story: list[tuple[str, int]], scripts: list[Script], rollout: bool
) -> None:
    """The first revision works and is kept warm. Later ones do as they like: all are answered."""

    def script(revision: Revision) -> Script:
        later = revision.generation > 1
        return scripts[revision.generation % len(scripts)] if later else Script()

    async def main() -> None:
        async with world(script) as it:
            duration = 8 if rollout else 0
            first = it.deploy(rollout=duration, min_instances=1, concurrency=2, max_instances=3)
            await until(1)
            requests = []
            for verb, n in story:
                if verb == "deploy":
                    it.deploy(rollout=duration, min_instances=1, concurrency=2, max_instances=3)
                elif verb == "send":
                    requests += [it.send(duration=n / 3) for _ in range(n)]
                elif verb == "wait":
                    await asyncio.sleep(n * n / 5)
                elif verb == "pin":
                    it.pin((first, n * 10))
                else:
                    it.reload()
                assert sum(it.shares().values()) == 100
            answers = await asyncio.gather(*requests)
            assert not [answer for answer in answers if "refused" in answer]

            it.driver.default = Script()  # whatever was wrong is mended
            it.pin()
            it.deploy(min_instances=1)
            await until(now() + 60)
            assert it.shares() == {it.latest["hello"].name: 100}
            assert set(await it.running()) == {it.latest["hello"].name}
            assert list(it.plane.throttlers) == [it.latest["hello"].name]

    run(main())
