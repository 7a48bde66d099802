"""The Docker driver against a real engine."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from docker.api.client import APIClient

from tests.exits import Exits
from tests.integration.driving import containers, get, new_id, opened, revision, running, until
from tests.integration.registry import registry
from tests.integration.relay import Relay, failed_connects_leak
from wakeful.config.model import Container, Readiness
from wakeful.runtime.docker import DockerDriver
from wakeful.runtime.driver import DriverError, EngineUnavailable, ImageNotFound
from wakeful.runtime.instance import Exit, Found
from wakeful.runtime.probe import ready
from wakeful.runtime.turns import Turns

pytestmark = pytest.mark.docker


def test_a_started_instance_serves_at_its_address_with_the_container_contract(
    app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance = new_id()
            hello = revision(app_image, "polite", port=9000, env=(("TARGET", "World"),))
            address = (await driver.start(hello, instance)).address
            await ready(address, Readiness(path="/healthz"))
            answer = await asyncio.to_thread(get, address, "/who")
            assert address.port == 9000
            env = answer["env"]
            names = ("PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION", "TARGET")
            assert [env[n] for n in names] == ["9000", "hello", "hello-00003", "hello", "World"]

    asyncio.run(story())


def test_the_images_own_command_runs_when_the_service_has_none(app_image: str, owner: str) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            address = (await driver.start(revision(app_image), new_id())).address
            await ready(address, Readiness())

    asyncio.run(story())


def test_the_container_carries_the_labels_the_name_and_the_limits(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            instance = new_id()
            limits = {"cpu": 0.5, "memory": 64 * 1024 * 1024, "stop_grace": 2.5}
            await driver.start(revision(app_image, "polite", **limits), instance)
            seen = engine.inspect_container(instance)
            assert seen["Config"]["Labels"].items() >= {
                ("wakeful.owner", owner),
                ("wakeful.service", "hello"),
                ("wakeful.revision", "hello-00003"),
                ("wakeful.instance", instance),
            }
            assert seen["HostConfig"]["NanoCpus"] == 500_000_000
            assert seen["HostConfig"]["Memory"] == 67_108_864
            assert seen["HostConfig"]["MemorySwap"] == 67_108_864
            assert seen["Config"]["StopTimeout"] == 3

    asyncio.run(story())


@pytest.mark.parametrize("code", ["0", "3"])
def test_an_exit_is_reported_once_with_its_code_and_its_output_can_still_be_read(
    code: str, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, exits):
            instance = new_id()
            await driver.start(revision(app_image, "exit", code), instance)
            assert await exits.of(instance) == f"exit code {code}"
            lines = await driver.tail(instance, 10)
            assert sorted(lines) == ["on standard error", "on standard output"]
            assert await driver.tail(instance, 1) == lines[-1:]
            await driver.stop(instance, 1)
            assert await driver.tail(instance, 10) == []
            assert len(exits.seen) == 1

    asyncio.run(story())


def test_a_kill_from_outside_is_reported_as_one(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, exits):
            instance = new_id()
            await driver.start(revision(app_image, "polite"), instance)
            await asyncio.to_thread(engine.kill, instance)
            assert await exits.of(instance) == "killed by signal 9"

    asyncio.run(story())


def test_a_removal_from_outside_is_reported_as_an_exit(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, exits):
            instance = new_id()
            await driver.start(revision(app_image, "polite"), instance)
            await asyncio.to_thread(engine.remove_container, instance, force=True)
            assert await exits.of(instance) == "killed by signal 9"
            await driver.stop(instance, 1)

    asyncio.run(story())


def test_running_out_of_memory_is_called_that(
    engine: APIClient, app_image: str, owner: str
) -> None:
    if not engine.info()["MemoryLimit"]:
        pytest.skip("this engine cannot limit memory")

    async def story() -> None:
        async with opened(owner) as (driver, exits):
            instance = new_id()
            await driver.start(revision(app_image, "eat", memory=32 * 1024 * 1024), instance)
            assert await exits.of(instance) == "out of memory"

    asyncio.run(story())


def test_a_missing_image_is_named_with_the_reason_in_one_line(
    engine: APIClient, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, exits):
            with pytest.raises(ImageNotFound) as caught:
                await driver.start(revision("127.0.0.1:1/nobody/nothing:9"), new_id())
            message = str(caught.value)
            assert message.startswith(
                "cannot start hello: image 127.0.0.1:1/nobody/nothing:9 cannot be pulled: "
            )
            assert "connection refused" in message
            assert "\n" not in message
            assert exits.seen == []
        assert containers(engine, owner) == []

    asyncio.run(story())


def test_an_absent_image_is_pulled_once_for_all_who_wait_for_it(
    engine: APIClient, owner: str
) -> None:
    bare = Container(init=False)  # so that it is the engine that cannot run the note

    async def story(image: str, released: threading.Event, asked: Callable[[], bool]) -> None:
        async with opened(owner) as (driver, _):
            starts = [
                asyncio.create_task(driver.start(revision(image, container=bare), new_id()))
                for _ in range(4)
            ]
            await until(asked)
            released.set()
            failures = await asyncio.gather(*starts, return_exceptions=True)
            # It was there in the end: what fails is to run a note.
            for failure in failures:
                assert isinstance(failure, DriverError)
                assert not isinstance(failure, ImageNotFound)

    with registry() as serving:
        serving.released.clear()
        manifest = "/v2/{}/manifests/{}".format(*serving.name.partition("/")[2].split(":"))
        try:
            asyncio.run(story(serving.name, serving.released, lambda: serving.asked[manifest] > 0))
            assert sum(n for path, n in serving.asked.items() if "/blobs/" in path) == 2
        finally:
            engine.remove_image(serving.name, force=True)
    assert containers(engine, owner) == []


def test_a_slow_pull_has_no_turn_while_it_is_under_way(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story(image: str, released: threading.Event, asked: Callable[[], bool]) -> None:
        turns = Turns(1)
        async with opened(owner) as (driver, _):
            pulling = asyncio.create_task(
                driver.start(revision(image), new_id(), lambda: turns.turn("slow", cold=True))
            )
            await until(asked)
            other = new_id()
            await driver.start(
                revision(app_image, "polite"), other, lambda: turns.turn("other", cold=True)
            )
            assert not pulling.done()
            released.set()
            await asyncio.wait([pulling])
            pulling.exception()  # a note cannot be run
            await driver.stop(other, 0)

    with registry() as serving:
        serving.released.clear()
        manifest = "/v2/{}/manifests/{}".format(*serving.name.partition("/")[2].split(":"))
        try:
            asyncio.run(story(serving.name, serving.released, lambda: serving.asked[manifest] > 0))
        finally:
            engine.remove_image(serving.name, force=True)


@pytest.mark.parametrize("command", ["/no/such/program", "/app/app.py"])
def test_a_command_that_cannot_be_run_fails_in_one_line_and_leaves_nothing(
    command: str, engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, exits):
            bare = Container(entrypoint=(command,), init=False)
            with pytest.raises(DriverError) as caught:
                await driver.start(revision(app_image, container=bare), new_id())
            message = str(caught.value)
            assert message.startswith(f'cannot start hello: exec: "{command}": ')
            assert "\n" not in message
            assert exits.seen == []
        assert containers(engine, owner) == []

    asyncio.run(story())


def test_a_name_that_is_taken_is_an_error_and_the_other_container_stays(
    engine: APIClient, app_image: str, owner: str
) -> None:
    instance = new_id()
    stranger = engine.create_container(app_image, name=instance)

    async def story() -> None:
        async with opened(owner) as (driver, _):
            with pytest.raises(DriverError, match="already in use"):
                await driver.start(revision(app_image, "polite"), instance)
            await driver.stop(instance, 1)

    try:
        asyncio.run(story())
        assert engine.inspect_container(instance)["Id"] == stranger["Id"]
    finally:
        engine.remove_container(stranger["Id"], force=True)


def test_stop_asks_first_and_removes_everything(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, exits):
            instance, _ = await running(driver, revision(app_image, "polite"))
            await driver.stop(instance, 60)
            assert exits.seen == [Exit(instance, "exit code 0")]
            assert containers(engine, owner) == []
            await driver.stop(instance, 60)
            assert len(exits.seen) == 1

    asyncio.run(story())


def test_stop_kills_what_ignores_being_asked(engine: APIClient, app_image: str, owner: str) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, exits):
            instance, _ = await running(driver, revision(app_image, "stubborn"))
            await driver.stop(instance, 0.2)
            assert exits.seen == [Exit(instance, "killed by signal 9")]
            assert containers(engine, owner) == []

    asyncio.run(story())


def test_a_second_stop_waits_with_the_first_and_does_not_ask_again(
    engine: APIClient, app_image: str, owner: str
) -> None:
    """A second SIGTERM means "at once" to many programs."""

    async def story() -> None:
        async with opened(owner) as (driver, exits):
            instance, _ = await running(driver, revision(app_image, "counting"))
            first = asyncio.create_task(driver.stop(instance, 600))
            while "asked" not in await driver.tail(instance, 10):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            second = asyncio.create_task(driver.stop(instance, 600))
            await asyncio.wait([first, second], timeout=0.1)
            assert await driver.tail(instance, 10) == ["serving", "asked"]
            await asyncio.to_thread(engine.kill, instance)
            await asyncio.gather(first, second)
            assert exits.seen == [Exit(instance, "killed by signal 9")]
            assert containers(engine, owner) == []

    asyncio.run(story())


def test_waiting_for_many_to_end_leaves_room_to_start_another(app_image: str, owner: str) -> None:
    """More than there are threads, and each would hold one for its whole grace."""

    async def story() -> None:
        async with opened(owner) as (driver, exits):
            stubborn = revision(app_image, "stubborn")
            ids = [new_id() for _ in range(9)]
            for one in await asyncio.gather(*(driver.start(stubborn, i) for i in ids)):
                await ready(one.address, Readiness())
            stops = [asyncio.create_task(driver.stop(i, 600)) for i in ids]
            await asyncio.sleep(0)
            another = new_id()
            started = await driver.start(revision(app_image, "polite"), another)
            await ready(started.address, Readiness())
            assert exits.seen == []
            for stop in stops:
                stop.cancel()
            await asyncio.wait(stops)
            await asyncio.gather(*(driver.stop(i, 0) for i in [*ids, another]))
            assert len(exits.seen) == 10

    asyncio.run(story())


def test_a_paused_container_can_be_stopped(engine: APIClient, app_image: str, owner: str) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, exits):
            instance = new_id()
            await driver.start(revision(app_image, "polite"), instance)
            await asyncio.to_thread(engine.pause, instance)
            await driver.stop(instance, 1)
            assert containers(engine, owner) == []
            assert len(exits.seen) == 1

    asyncio.run(story())


def test_a_start_that_is_cancelled_leaves_nothing(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        async with opened(owner) as (driver, _):
            for delay in (0, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2):
                instance = new_id()
                start = asyncio.create_task(driver.start(revision(app_image, "polite"), instance))
                await asyncio.sleep(delay)
                if start.cancel():
                    with pytest.raises(asyncio.CancelledError):
                        await start
                await driver.stop(instance, 0)
                assert containers(engine, owner) == []
            abandoned = asyncio.create_task(driver.start(revision(app_image, "polite"), new_id()))
            await asyncio.sleep(0.02)
            abandoned.cancel()
            await asyncio.wait([abandoned])
        assert containers(engine, owner) == []

    asyncio.run(story())


def test_a_start_that_the_end_of_the_driver_overtakes_is_no_mistake(
    app_image: str, owner: str
) -> None:
    async def story() -> None:
        for delay in (0.005, 0.05):
            async with opened(owner) as (driver, _):
                start = asyncio.create_task(driver.start(revision(app_image, "polite"), new_id()))
                await asyncio.sleep(delay)
            with suppress(DriverError):
                await start

    asyncio.run(story())


def test_instances_survive_the_driver_and_are_adopted_by_the_next_one_of_their_owner(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        instance = new_id()
        async with opened(owner) as (first, unheard):
            address = (await first.start(revision(app_image, "polite"), instance)).address
            await ready(address, Readiness())
        async with opened(f"{owner}-another") as (stranger, _):
            assert await stranger.instances() == []
            await stranger.stop(instance, 0)
            assert len(containers(engine, owner)) == 1
        async with opened(owner) as (second, exits):
            assert await second.instances() == [Found(instance, "hello", "hello-00003", address)]
            await asyncio.to_thread(engine.kill, instance)
            assert await exits.of(instance) == "killed by signal 9"
            assert await second.instances() == []
        assert unheard.seen == []

    asyncio.run(story())


def test_an_instance_that_was_never_adopted_can_be_stopped_politely(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        instance = new_id()
        async with opened(owner) as (first, _):
            address = (await first.start(revision(app_image, "polite"), instance)).address
            await ready(address, Readiness())
        async with opened(owner) as (second, _):
            await second.stop(instance, 60)
        assert containers(engine, owner) == []

    asyncio.run(story())


def test_the_dead_of_an_earlier_run_are_removed_and_the_living_are_not(
    engine: APIClient, app_image: str, owner: str
) -> None:
    async def story() -> None:
        dead, living = new_id(), new_id()
        async with opened(owner) as (first, exits):
            await first.start(revision(app_image, "exit", "1"), dead)
            await first.start(revision(app_image, "polite"), living)
            await exits.of(dead)
        # The engine tells of an exit before its lists show it.
        await until(lambda: "exited" in [c["State"] for c in containers(engine, owner)])
        async with opened(owner):
            names = [f"/{living}"]
            await until(lambda: [c["Names"] for c in containers(engine, owner)] == [names])

    asyncio.run(story())


@failed_connects_leak
def test_no_exit_is_missed_while_the_engine_does_not_answer(
    engine: APIClient,
    app_image: str,
    owner: str,
    relay: Relay,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The outage is long: what happened in it is not told again.
    monkeypatch.setattr("wakeful.runtime.docker_events._OVERLAP", -10)

    async def story() -> None:
        async with opened(owner) as (driver, exits):
            survivor, before, meanwhile, after = new_id(), new_id(), new_id(), new_id()
            for instance in (survivor, before, meanwhile, after):
                await driver.start(revision(app_image, "polite"), instance)
            await asyncio.to_thread(engine.kill, before)
            await exits.of(before)

            await asyncio.to_thread(relay.cut)
            with pytest.raises(EngineUnavailable, match="does not answer"):
                await driver.instances()
            await asyncio.to_thread(engine.kill, meanwhile)
            assert [exit.instance for exit in exits.seen] == [before]

            relay.mend()
            assert await exits.of(meanwhile) == "killed by signal 9"
            await asyncio.to_thread(engine.kill, after)
            await exits.of(after)
            assert [exit.instance for exit in exits.seen] == [before, meanwhile, after]
            assert [found.instance for found in await driver.instances()] == [survivor]

    asyncio.run(story())


def test_no_thread_outlives_the_driver(app_image: str, owner: str) -> None:
    before = set(threading.enumerate())

    async def story() -> None:
        async with opened(owner) as (driver, _):
            await driver.start(revision(app_image, "polite"), new_id())

    asyncio.run(story())
    assert set(threading.enumerate()) <= before


@failed_connects_leak
def test_without_an_engine_the_driver_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")

    async def story() -> None:
        with pytest.raises(EngineUnavailable, match="no such file"):
            await DockerDriver("nobody").open(Exits())

    asyncio.run(story())
    gc.collect()
