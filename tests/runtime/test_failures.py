"""Instances that cannot be started, and those that end by themselves; see staging."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.runtime.staging import now, simulated, stage, until
from wakeful.clock import run_simulated
from wakeful.config.model import Queue, Template
from wakeful.events import Backends, Outage
from wakeful.runtime.driver import DriverError, EngineUnavailable, ImageNotFound
from wakeful.runtime.instance import InstanceId, Launched
from wakeful.runtime.memory import Script

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
