"""The instances of one revision, in simulated time, with a driver that follows a script.

Unless a test says otherwise an instance is started after 0.25 s and listens
0.1 s later, so it is ready 0.35 s after it was asked for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeful.clock import run_simulated
from wakeful.config.model import Queue, Revision, Template
from wakeful.events import Backends, Outage
from wakeful.runtime.driver import DriverError, EngineUnavailable, ImageNotFound
from wakeful.runtime.fleet import Fleet
from wakeful.runtime.instance import Address, Found, InstanceId, Launched, State
from wakeful.runtime.memory import MemoryDriver, Script
from wakeful.runtime.probe import Prober
from wakeful.runtime.turns import Turns

Publication = tuple[float, tuple[str, ...], Outage | None]


class Stage:
    """A fleet on a scripted driver, and what it published when."""

    def __init__(
        self,
        default: Script,
        template: Template = Template(image="hello:1"),  # noqa: B008 (frozen)
        turns: Turns | None = None,
        prober: Prober | None = None,
    ) -> None:
        self.driver = MemoryDriver(default)
        self.published: list[Publication] = []
        self.on_publish: Callable[[Backends], None] = lambda backends: None
        numbers = count(1)
        self.fleet = Fleet(
            Revision("hello", 1, template),
            self.driver,
            prober or self.driver.probe,
            self._publish,
            now=asyncio.get_running_loop().time,
            new_id=lambda: InstanceId(f"i{next(numbers)}"),
            turns=turns,
        )

    def _publish(self, backends: Backends) -> None:
        names = tuple(e.instance for e in backends.endpoints)
        self.published.append((now(), names, backends.outage))
        self.on_publish(backends)

    @property
    def stops(self) -> list[tuple[float, str]]:
        return [(round(s.at, 6), s.instance) for s in self.driver.stops]


@asynccontextmanager
async def stage(
    default: Script = Script(),  # noqa: B008 (frozen)
    template: Template = Template(image="hello:1"),  # noqa: B008 (frozen)
    turns: Turns | None = None,
    prober: Prober | None = None,
) -> AsyncIterator[Stage]:
    it = Stage(default, template, turns, prober)
    await it.driver.open(it.fleet.exited, it.fleet.paused)
    yield it
    await it.fleet.close(leave=False)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 6)


async def until(moment: float) -> None:
    await asyncio.sleep(moment - asyncio.get_running_loop().time())


def simulated(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    def run(*args: Any, **kwargs: Any) -> None:
        run_simulated(test(*args, **kwargs))

    # Not functools.wraps: pytest must not take it for a coroutine function,
    # but has to see the fixtures that it asks for.
    run.__name__, run.__doc__ = test.__name__, test.__doc__
    run.__signature__ = __import__("inspect").signature(test)  # type: ignore[attr-defined]
    return run


# Coming up


@simulated
async def test_an_instance_is_published_when_its_probe_passes_and_not_before() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(0.3)
        assert (it.fleet.starting, it.fleet.ready, it.published) == (("i1",), (), [])

        await until(1)
        assert (it.fleet.starting, it.fleet.ready) == ((), ("i1",))
        assert it.published == [(0.35, ("i1",), None)]


@simulated
async def test_where_an_instance_listens_is_published_with_it() -> None:
    async with stage() as it:
        seen: list[Backends] = []
        it.on_publish = seen.append
        it.fleet.start(1)
        await until(1)

        [endpoint] = seen[-1].endpoints
        assert (endpoint.host, endpoint.port) == ("i1", 8080)


@simulated
async def test_instances_that_were_asked_for_together_start_together() -> None:
    async with stage() as it:
        it.fleet.start(3)
        await until(1)

        assert [s.at for s in it.driver.starts] == [0, 0, 0]
        assert it.fleet.ready == ("i1", "i2", "i3")
        assert [p[0] for p in it.published] == [0.35, 0.35, 0.35]


@simulated
async def test_starts_beyond_the_hosts_limit_wait_for_their_turn() -> None:
    async with stage(turns=Turns(2)) as it:
        it.fleet.start(5)
        await until(2)

        assert [round(s.at, 6) for s in it.driver.starts] == [0, 0, 0.25, 0.25, 0.5]


@simulated
async def test_an_instance_that_never_listens_does_not_keep_others_from_starting() -> None:
    async with stage(turns=Turns(1)) as it:
        it.driver.upcoming.append(Script(listen=None))
        it.fleet.start(2)
        await until(1)

        assert it.fleet.ready == ("i2",)


@simulated
async def test_waiting_for_a_turn_does_not_count_against_the_start() -> None:
    async with stage(Script(start=40), turns=Turns(1)) as it:
        it.fleet.start(3)
        await until(121)

        assert it.fleet.ready == ("i1", "i2", "i3")


@simulated
async def test_a_pull_keeps_nobody_elses_instance_from_starting() -> None:
    turns = Turns(1)
    async with stage(Script(pull=40), turns=turns) as slow, stage(turns=turns) as other:
        slow.fleet.start(3)
        await until(1)
        other.fleet.start(1)
        await until(2)
        assert (other.fleet.ready, slow.fleet.ready) == (("i1",), ())

        await until(42)
        assert slow.fleet.ready == ("i1", "i2", "i3")
        assert [round(s.at, 6) for s in slow.driver.starts] == [40, 40.25, 40.5]


@simulated
async def test_a_pull_that_takes_too_long_is_a_failed_start() -> None:
    async with stage(Script(pull=70)) as it:
        it.fleet.start(1)
        await until(60.5)

        assert it.fleet.outage == Outage(
            "start_failed", "the instance was not started within 60s", until=61
        )


@simulated
async def test_a_found_instance_is_adopted_when_its_probe_passes() -> None:
    async with stage() as it:
        address = (await it.driver.start(it.fleet.revision, InstanceId("old"))).address
        it.fleet.adopt(Found(InstanceId("old"), "hello", "hello-00001", address))
        assert it.fleet.starting == ("old",)

        await until(1)
        assert it.fleet.ready == ("old",)
        assert len(it.driver.starts) == 1
        assert it.published == [(0.35, ("old",), None)]


@simulated
async def test_an_instance_that_runs_already_is_adopted_without_a_turn_to_start() -> None:
    async with stage(Script(start=40), turns=Turns(1)) as it:
        address = (await it.driver.start(it.fleet.revision, InstanceId("old"))).address
        it.fleet.start(1)
        await until(41)
        it.fleet.adopt(Found(InstanceId("old"), "hello", "hello-00001", address))
        await until(42)

        assert it.fleet.ready == ("old",)


@simulated
async def test_a_found_instance_that_does_not_listen_is_stopped_at_the_deadline() -> None:
    async with stage() as it:
        it.fleet.adopt(Found(InstanceId("old"), "hello", "hello-00001", Address("old", 8080)))
        await until(61)

        assert it.stops == [(60, "old")]
        assert it.fleet.gone


# What a start consists of


def phases_of(backends: Backends) -> list[tuple[str, float]]:
    (endpoint,) = backends.endpoints
    assert endpoint.start is not None
    return [(phase, round(seconds, 6)) for phase, seconds in endpoint.start.phases]


@simulated
async def test_an_instance_is_published_with_what_its_start_consisted_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    turns = Turns(1)
    async with stage(turns=turns) as other, stage(turns=turns) as it:
        seen: list[Backends] = []
        it.on_publish = seen.append
        other.fleet.start(1)
        await until(0.05)
        it.fleet.start(1)
        await until(1)

        assert phases_of(seen[0]) == [("queued", 0.2), ("start", 0.25), ("listening", 0.1)]
        (endpoint,) = seen[0].endpoints
        assert endpoint.start is not None
        assert round(endpoint.start.ready_at, 6) == 0.6
        ready = "hello-00001: instance i1 is ready after 0.550 s"
        assert f"{ready} (queued 0.200, start 0.250, listening 0.100)" in caplog.text


@simulated
async def test_a_pull_comes_before_the_turn_and_is_not_counted_as_waiting_for_it() -> None:
    async with stage(Script(pull=3)) as it:
        seen: list[Backends] = []
        it.on_publish = seen.append
        it.fleet.start(1)
        await until(5)

        order = [("pull", 3), ("queued", 0), ("start", 0.25), ("listening", 0.1)]
        assert phases_of(seen[0]) == order


@simulated
async def test_the_phases_of_all_starts_are_added_up_but_not_of_those_that_failed() -> None:
    async with stage(Script(start=0.5, listen=0.25)) as it:
        it.driver.upcoming += [
            Script(start=4, lifetime=0),
            Script(start=4, failure=DriverError("no")),
        ]
        it.fleet.start(2)
        await until(10)
        assert it.fleet.start_phases == {}

        it.fleet.start(2)
        await until(20)
        totals = {phase: (of.count, of.sum) for phase, of in it.fleet.start_phases.items()}
        assert totals == {"queued": (2, 0), "start": (2, 1), "listening": (2, 0.5)}


@simulated
async def test_an_adopted_instance_was_not_started(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with stage(Script(start=0, listen=2)) as it:
        address = (await it.driver.start(it.fleet.revision, InstanceId("old"))).address
        seen: list[Backends] = []
        it.on_publish = seen.append
        it.fleet.adopt(Found(InstanceId("old"), "hello", "hello-00001", address))
        await until(5)

        assert [one.start for one in seen[0].endpoints] == [None]
        assert it.fleet.start_phases == {}
        (line,) = [r.getMessage() for r in caplog.records if "is ready" in r.getMessage()]
        assert line == "hello-00001: instance old is ready after 2.000 s"


# Going


@simulated
async def test_a_drained_instance_leaves_the_endpoints_at_once_and_stops_when_it_is_empty() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(1)
        it.fleet.drain(["i1"])
        assert it.published[-1:] == [(1, (), None)]
        assert it.fleet.draining == ("i1",)

        await until(5000)
        assert it.stops == []

        it.fleet.drained("i1")
        await until(5001)
        assert it.stops == [(5000, "i1")]
        assert it.fleet.gone


@simulated
async def test_an_empty_instance_may_be_reported_from_inside_the_publication() -> None:
    async with stage() as it:
        it.fleet.start(2)
        await until(1)
        it.on_publish = lambda backends: it.fleet.drained("i1")
        it.fleet.drain(["i1"])
        await until(2)

        assert it.stops == [(1, "i1")]
        assert it.fleet.ready == ("i2",)


@simulated
async def test_draining_several_is_published_once() -> None:
    async with stage() as it:
        it.fleet.start(3)
        await until(1)
        it.fleet.start(1)
        it.published.clear()
        it.fleet.drain(["i1", "i4", "i3"])
        await until(2)

        assert it.published == [(1, ("i2",), None)]


@simulated
async def test_an_instance_that_was_still_starting_is_called_off() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(0.1)
        it.fleet.drain(["i1"])
        await until(1)

        assert it.stops == [(0.1, "i1")]
        assert it.fleet.gone
        assert it.published == []
        assert it.fleet.starts_failed == 0
        assert not it.fleet.failing


class Gate:
    """A probe that passes when the test says so."""

    last_failure = "not open"

    def __init__(self) -> None:
        self.open = asyncio.get_running_loop().create_future()

    async def passed(self) -> None:
        await self.open


@pytest.mark.parametrize("first", ["passed", "drained"])
def test_a_start_called_off_in_the_turn_in_which_it_gets_ready_stays_off(first: str) -> None:
    async def main() -> None:
        gate = Gate()
        async with stage(prober=lambda address, readiness: gate) as it:
            it.fleet.start(1)
            await until(1)
            if first == "passed":
                gate.open.set_result(None)
                it.fleet.drain(["i1"])
            else:
                it.fleet.drain(["i1"])
                gate.open.set_result(None)
            await until(2)

            assert it.fleet.gone
            assert it.published == []
            assert it.stops == [(1, "i1")]
            assert it.fleet.became_ready == 0

    run_simulated(main())


@simulated
async def test_what_was_not_asked_to_drain_cannot_be_reported_empty() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(1)
        it.fleet.drained("i1")
        it.fleet.drained("nobody")
        await until(2)

        assert it.fleet.ready == ("i1",)


@simulated
async def test_an_instance_the_engine_will_not_stop_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage() as it:
        stop, tries = it.driver.stop, []

        async def refuses_until_five(instance: InstanceId, grace: float) -> None:
            tries.append(now())
            if now() < 5:
                raise EngineUnavailable("no answer")
            await stop(instance, grace)

        it.driver.stop = refuses_until_five  # type: ignore[method-assign]
        it.fleet.start(1)
        await until(1)
        it.fleet.drain(["i1"])
        it.fleet.drained("i1")
        await until(3)
        assert it.fleet.count(State.STOPPING) == 1

        await until(20)
        assert tries == [1, 2, 4, 8]
        assert it.fleet.gone
        assert "cannot be stopped: no answer" in caplog.text


# Failing to start


@simulated
async def test_an_image_that_does_not_exist_is_an_outage_that_says_so() -> None:
    async with stage(Script(start=0.5, failure=ImageNotFound("pull access denied"))) as it:
        it.fleet.start(1)
        await until(1)

        outage = Outage("start_failed", 'image "hello:1" not found', until=1.5)
        assert it.published == [(0.5, (), outage)]
        assert it.fleet.outage == outage
        assert it.fleet.blocked_until == 1.5
        assert it.fleet.starts_failed == 1


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (
            EngineUnavailable("/var/run/docker.sock: refused"),
            "the container engine does not answer",
        ),
        (DriverError("exec /srv/secret/app: no such file"), "the instance could not be started"),
    ],
)
def test_what_only_concerns_the_operator_is_logged_and_not_told_to_clients(
    error: DriverError, detail: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with stage(Script(failure=error)) as it:
            it.fleet.start(1)
            await until(1)
            assert it.fleet.outage is not None
            assert it.fleet.outage.detail == detail
            assert it.fleet.failure == str(error)
            it.driver.default = Script()
            it.fleet.start(1)
            await until(3)
            assert it.fleet.failure == ""

    run_simulated(main())
    assert str(error) in caplog.text


@simulated
async def test_an_exit_at_start_fails_at_once_and_shows_the_operator_the_last_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lines = tuple(f"line {n}" for n in range(1, 31))
    script = Script(listen=None, lifetime=0.5, ending="exit code 3", output=lines)
    async with stage(script) as it:
        it.fleet.start(1)
        await until(1)

        outage = Outage("start_failed", "instance exited at start: exit code 3", until=1.75)
        assert it.published == [(0.75, (), outage)]
        assert it.stops == [(0.75, "i1")]
        assert it.fleet.crashes == 0
    assert "exit code 3\n  | line 11\n" in caplog.text
    assert caplog.text.rstrip().endswith("| line 30")
    [record] = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert "line 10\n" not in record.getMessage()


@simulated
async def test_an_instance_that_never_listens_fails_after_a_minute_and_is_stopped() -> None:
    async with stage(Script(listen=None)) as it:
        it.fleet.start(1)
        await until(59.9)
        assert it.fleet.starting == ("i1",)

        await until(60.5)
        assert it.fleet.outage == Outage(
            "start_failed",
            "did not listen on port 8080 within 60s: connection refused",
            until=61,
        )
        assert it.stops == [(60, "i1")]


@simulated
async def test_a_start_has_as_long_as_requests_are_willing_to_wait() -> None:
    patient = Template(image="hello:1", queue=Queue(timeout=90))
    async with stage(Script(listen=None), patient) as it:
        it.fleet.start(1)
        await until(100)

        assert it.stops == [(90, "i1")]


@simulated
async def test_an_engine_that_never_answers_fails_the_start_too() -> None:
    async with stage(Script(start=1e6)) as it:
        it.fleet.start(1)
        await until(60.5)

        assert it.fleet.outage is not None
        assert it.fleet.outage.detail == "the instance was not started within 60s"


@simulated
async def test_requests_are_not_failed_while_another_instance_may_still_succeed() -> None:
    async with stage() as it:
        it.driver.upcoming.extend([Script(start=0.1, failure=DriverError("no")), Script(start=2)])
        it.fleet.start(2)
        await until(1)
        assert (it.published, it.fleet.outage) == ([], None)

        await until(3)
        assert it.published == [(2.1, ("i2",), None)]


@simulated
async def test_the_outage_begins_when_the_last_of_several_starts_has_failed() -> None:
    async with stage() as it:
        no = DriverError("no")
        it.driver.upcoming.extend([Script(start=0.1, failure=no), Script(start=2, failure=no)])
        it.fleet.start(2)
        await until(2.5)

        [(at, endpoints, outage)] = it.published
        assert (at, endpoints) == (2, ())
        assert outage == Outage("start_failed", "the instance could not be started", until=3)


@simulated
async def test_the_outage_ends_when_the_next_try_begins_but_not_inside_start() -> None:
    async with stage() as it:
        it.driver.upcoming.append(Script(start=0.1, failure=DriverError("no")))
        it.fleet.start(1)
        await until(1.1)
        it.fleet.start(1)
        assert len(it.published) == 1

        await until(2)
        assert it.published[1:] == [(1.1, (), None), (1.45, ("i2",), None)]


@simulated
async def test_tries_that_fail_in_a_row_are_further_and_further_apart() -> None:
    async with stage(Script(start=0, failure=DriverError("no"))) as it:
        for _ in range(8):
            await until(max(0.0, it.fleet.blocked_until))
            it.fleet.start(1)
            await asyncio.sleep(0.5)

        assert [round(s.at) for s in it.driver.starts] == [0, 1, 3, 7, 15, 31, 63, 123]


@simulated
async def test_a_bug_in_a_driver_fails_the_start_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage() as it:

        async def breaks(*_: object, **__: object) -> Launched:
            raise ZeroDivisionError

        it.driver.start = breaks  # type: ignore[method-assign]
        it.fleet.start(1)
        await until(1)

        assert it.fleet.gone
        assert it.fleet.failing
        assert "ZeroDivisionError" in caplog.text


# Ending by itself


@simulated
async def test_an_instance_that_exits_leaves_the_endpoints_in_that_very_moment() -> None:
    async with stage(Script(output=("out of cheese",))) as it:
        it.fleet.start(2)
        await until(100)
        it.driver.crash(InstanceId("i1"), "killed by signal 9")
        assert it.published[-1:] == [(100, ("i2",), None)]
        assert it.fleet.ready == ("i2",)

        await until(101)
        assert it.stops == [(100, "i1")]
        assert it.fleet.crashes == 1


@simulated
async def test_of_an_instance_that_exits_it_is_published_that_it_has_ended() -> None:
    async with stage() as it:
        seen: list[Backends] = []
        it.on_publish = seen.append
        it.fleet.start(4)
        await until(100)
        it.fleet.drain(["i3", "i4"])
        it.driver.crash(InstanceId("i1"))
        it.driver.crash(InstanceId("i3"))
        assert seen[-1].ended == ("i1", "i3")

        it.fleet.drained("i4")  # ends as it was asked to, with nothing in it
        await until(101)
        it.fleet.start(1)
        await until(102)
        assert not seen[-1].ended  # nothing is left of them


@simulated
async def test_an_instance_that_had_proved_itself_may_be_replaced_at_once() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(10.36)
        it.driver.crash(InstanceId("i1"))

        assert it.fleet.blocked_until < now()
        assert it.published[-1:] == [(10.36, (), None)]


@simulated
async def test_being_ready_for_a_moment_each_time_is_a_crash_loop() -> None:
    async with stage(Script(lifetime=5, ending="out of memory")) as it:
        began = []
        for _ in range(4):
            await until(max(now(), it.fleet.blocked_until))
            began.append(now())
            it.fleet.start(1)
            await asyncio.sleep(5.5)

        assert began == [0, 6.25, 13.5, 22.75]
        assert it.fleet.outage is not None
        assert it.fleet.outage.detail == "instance exited soon after start: out of memory"


@simulated
async def test_ten_seconds_of_being_ready_forgive_the_failures_before() -> None:
    async with stage(Script(start=0, failure=DriverError("no"))) as it:
        for _ in range(4):
            await until(max(now(), it.fleet.blocked_until))
            it.fleet.start(1)
            await asyncio.sleep(0.5)
        failing = [it.fleet.failing]

        await until(100)
        it.driver.upcoming.append(Script(start=0, listen=0))
        it.fleet.start(1)
        for moment in (109.9, 110.1):
            await until(moment)
            failing.append(it.fleet.failing)
        assert failing == [True, True, False]


@simulated
async def test_an_exit_while_draining_does_not_count_as_a_failed_start() -> None:
    async with stage() as it:
        it.fleet.start(1)
        await until(1)
        it.fleet.drain(["i1"])
        it.driver.crash(InstanceId("i1"))
        it.fleet.drained("i1")
        await until(2)

        assert it.fleet.gone
        assert not it.fleet.failing


# Closing


@simulated
async def test_closing_stops_every_instance_whatever_it_is_doing_and_waits_for_that() -> None:
    async with stage(Script(goodbye=3)) as it:
        it.fleet.start(2)
        await until(1)
        it.fleet.drain(["i2"])
        it.fleet.start(1)
        await until(1.1)
        await it.fleet.close(leave=False)

        assert now() == 4.1
        assert it.published[-1:] == [(1.1, (), None)]
        assert await it.driver.instances() == []
        assert it.fleet.gone


@simulated
async def test_an_instance_whose_publication_fails_is_stopped_and_the_rest_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def breaks_once(backends: Backends) -> None:
        it.on_publish = lambda backends: None
        raise ZeroDivisionError

    async with stage() as it:
        it.on_publish = breaks_once
        it.fleet.start(1)
        await until(1)
        it.fleet.start(1)
        await until(2)

        assert it.fleet.ready == ("i2",)
        assert it.stops == [(0.35, "i1")]
        assert it.published[1:] == [(0.35, (), None), (1.35, ("i2",), None)]
    assert "ZeroDivisionError" in caplog.text


@simulated
async def test_leaving_touches_nothing() -> None:
    async with stage() as it:
        it.fleet.start(2)
        await until(1)
        it.published.clear()
        await it.fleet.close(leave=True)
        await until(100)

        assert {f.instance for f in await it.driver.instances()} == {"i1", "i2"}
        assert (it.stops, it.published) == ([], [])


@simulated
async def test_closing_does_not_wait_for_an_engine_that_is_gone() -> None:
    async with stage() as it:

        async def refuses(instance: InstanceId, grace: float) -> None:
            raise EngineUnavailable("no answer")

        it.driver.stop = refuses  # type: ignore[method-assign]
        it.fleet.start(1)
        await until(1)
        await it.fleet.close(leave=False)
        assert now() == 1


# Whatever happens

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "drain", "drained", "crash", "wait", "tick"]), st.integers(0, 5)
    ),
    max_size=40,
)
SCRIPTS = st.lists(
    st.builds(
        Script,
        start=st.sampled_from([0, 0.25, 3]),
        failure=st.sampled_from([None, None, DriverError("no")]),
        listen=st.sampled_from([0, 0.1, None]),
        lifetime=st.sampled_from([None, None, 0, 0.1, 20]),
        goodbye=st.sampled_from([0, 2, 30]),
    ),
    max_size=10,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, SCRIPTS)
def test_an_endpoint_never_outlives_its_instance_and_nothing_is_left_behind(
    steps: list[tuple[str, int]], scripts: list[Script]
) -> None:
    async def main() -> None:
        async with stage() as it:
            it.driver.upcoming.extend(scripts)
            for verb, n in steps:
                names = (*it.fleet.starting, *it.fleet.ready, *it.fleet.draining)
                some = names[n % len(names)] if names else "nobody"
                if verb == "start":
                    it.fleet.start(n % 3)
                elif verb == "drain":
                    it.fleet.drain([some])
                elif verb == "drained":
                    it.fleet.drained(some)
                elif verb == "crash":
                    alive = [f.instance for f in await it.driver.instances()]
                    if alive:
                        it.driver.crash(alive[n % len(alive)])
                elif verb == "wait":
                    await asyncio.sleep(n * n)
                else:
                    await asyncio.sleep(0)

                published = it.published[-1][1] if it.published else ()
                alive_now = {f.instance for f in await it.driver.instances()}
                assert published == it.fleet.ready
                assert set(published) <= alive_now
                assert it.fleet.size == len(it.fleet.ready) + len(it.fleet.starting)
                assert not (it.fleet.size and it.fleet.outage)
            twice = zip(it.published, it.published[1:], strict=False)
            assert all(a[1:] != b[1:] for a, b in twice)

            await it.fleet.close(leave=False)
            assert it.fleet.gone
            assert await it.driver.instances() == []

    run_simulated(main())
