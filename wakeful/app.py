"""The composition root: puts the layers together and carries messages between them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from wakeful.admin.instances import Listing, listing
from wakeful.admin.outputs import Outputs
from wakeful.admin.scrape import render
from wakeful.admin.server import AdminServer
from wakeful.config.diff import diff, fixed_changes
from wakeful.config.fit import misfits
from wakeful.config.load import ConfigError, Loaded, load
from wakeful.config.model import (
    AccessLogFormat,
    Config,
    HostPort,
    Pull,
    Revision,
    RuntimeKind,
    Service,
)
from wakeful.deploy import Deployments, Standing, hosts_of
from wakeful.events import Backends
from wakeful.host import find_runtime, frozen_memory, new_driver, processors
from wakeful.proxy.access import AccessLog
from wakeful.proxy.server import DataPlane
from wakeful.runtime.driver import Driver, DriverError
from wakeful.runtime.instance import Exit, Found, InstanceId
from wakeful.runtime.probe import Probe
from wakeful.runtime.spares import Spares
from wakeful.runtime.turns import Turns
from wakeful.scale_file import ScaleFile
from wakeful.scaler.autoscaler import Autoscaler
from wakeful.state import StateDirectory, StateError, default_directory

log = logging.getLogger("wakeful")

PULSE = 1.0  # seconds between two samples of the traffic
_KILL_PATIENCE = 3.0
_SHOWN_SERVICES = 20  # of which the start logs the addresses


class StartError(Exception):
    """wakeful cannot run here; the message says why and what to do."""


class App:
    """One wakeful: from a configuration to listeners, and back to nothing."""

    def __init__(self, loaded: Loaded, *, leave_instances: bool = False) -> None:
        self.config = loaded.config
        self.runtime = RuntimeKind.PROCESS
        self.runtime_reason = ""  # why auto did not take docker
        self._loaded = loaded
        self._leave = leave_instances
        self._state = StateDirectory(self.config.state_dir or default_directory())
        self._scale_file = ScaleFile(self._state.path / "scale.json")
        self._reloads = {"success": 0, "failure": 0}
        self._reloading: asyncio.Task[None] | None = None
        self._stale = False  # the file may say something else than what was read of it
        self._tasks: set[asyncio.Task[None]] = set()
        self._strangers: set[asyncio.Task[None]] = set()  # those of _tasks that stop one
        self._driver: Driver
        self._outputs: Outputs
        self._spares: Spares
        self._scaler: Autoscaler
        self._deployments: Deployments
        self.plane: DataPlane
        self._admin: AdminServer

    # From nothing to serving

    async def start(self) -> None:
        """Raises ConfigError, StartError. What was opened by then is closed again."""
        self.runtime, self.runtime_reason = find_runtime(self._loaded)
        try:
            self._state.open()
            try:
                self._check_pinned(self._loaded)
            except ConfigError:
                self._state.close()
                raise
            await self._assemble()
        except StateError as error:
            raise StartError(str(error)) from None

    async def _assemble(self) -> None:
        config = self.config
        loop = asyncio.get_running_loop()
        access = None
        try:
            if config.access_log.format is not AccessLogFormat.OFF:
                access = AccessLog(config.access_log, loop)
            self._driver = new_driver(self.runtime, config, self._state)
            self._outputs = Outputs(
                self._driver, lambda: self.config.services, self._instances_of, time.time
            )
            self._spares = Spares(self._driver, frozen_memory(config), now=time.monotonic)
            self._scaler = Autoscaler(
                self._driver,
                Probe,
                self._publish,
                now=time.monotonic,
                turns=Turns(config.simultaneous_starts, processors()),
                spares=self._spares,
                audience=self._outputs,
            )
            self.plane = DataPlane(self._scaler, access=access, trusted=config.trusted_proxies)
            self._deployments = Deployments(
                self.plane, self._scaler, now=time.monotonic, settled=self._state.settle
            )
            self._admin = AdminServer(
                self._ready, self._metrics, self._standings, self._instances, self._outputs
            )
            await self._driver.open(self._exited, self._scaler.paused)
        except DriverError as error:
            self._state.close()
            raise StartError(f"runtime {self.runtime}: {error}") from None
        except OSError as error:
            self._state.close()
            raise StartError(f"access-log {config.access_log.file}: {error.strerror}") from None
        try:
            await self._bind()
            found = await self._driver.instances()
            # In one turn of the loop, so that what is adopted counts as the minimum.
            running = {instance.revision for instance in found}
            self._take_over(config, self._state.answered(config.services, running))
            self._adopt(found)
            self._scale_file.recall(self._scaler, time.time())
            await self.plane.listen()
            await self._admin.listen()
        except DriverError as error:
            await self._abandon()
            raise StartError(f"runtime {self.runtime}: {error}") from None
        except BaseException:
            await self._abandon()
            raise
        self._hold(self._pulse(), "pulse")
        self._follow_images()
        self._log_start()

    async def _bind(self) -> None:
        """Before anything is started: a port that is taken must start nothing."""
        for name, bind, address in (
            ("listen", self.plane.bind, self.config.listen),
            ("admin", self._admin.bind, self.config.admin),
        ):
            try:
                await bind(address)
            except OSError as error:
                reason = os.strerror(error.errno) if error.errno else str(error)
                raise StartError(f"{name} {address}: {reason}") from None

    async def _abandon(self) -> None:
        """The start failed: what was started for it ends, what ran before it stays."""
        await self._scaler.close(leave=True)
        await self._driver.close()
        await self._admin.close()
        self.plane.close()
        self._state.close()

    def _adopt(self, found: Sequence[Found]) -> None:
        """Take back what an earlier run left behind, and stop what fits nothing any more."""
        for instance in found:
            if self._scaler.adopt(instance):
                log.info("%s: adopted instance %s", instance.revision, instance.instance)
            else:
                stop = self._hold(self._stop_stranger(instance), f"stop {instance.instance}")
                self._strangers.add(stop)
                stop.add_done_callback(self._strangers.discard)

    async def _stop_stranger(self, found: Found) -> None:
        log.info("%s: stopping instance %s of an earlier run", found.revision, found.instance)
        with suppress(DriverError):
            await self._driver.stop(found.instance, 10.0)

    def _log_start(self) -> None:
        reason = f" ({self.runtime_reason})" if self.runtime_reason else ""
        log.info("runtime: %s%s   state: %s", self.runtime, reason, self._state.path)
        log.info("freezer: %s", self._driver.freezer)
        log.info("admin: http://%s   metrics: /metrics", self.admin_address)
        services = list(self.config.services.values())
        for service in services[:_SHOWN_SERVICES]:
            log.info("%s: %s", service.name, "  ".join(self.urls(service)))
        if len(services) > _SHOWN_SERVICES:
            log.info("and %d more services", len(services) - _SHOWN_SERVICES)

    # What others ask

    @property
    def address(self) -> HostPort:
        return HostPort(self.config.listen.host, self.plane.port)

    @property
    def admin_address(self) -> HostPort:
        return HostPort(self.config.admin.host, self._admin.port)

    def urls(self, service: Service) -> list[str]:
        port = "" if self.plane.port == 80 else f":{self.plane.port}"
        return [f"http://{host}{port}" for host in hosts_of(service, self.config.domain)]

    def running(self, service: str) -> int:
        """Instances of a service that exist now, in whatever state."""
        return sum(
            status.instances for status in self._scaler.statuses() if status.service == service
        )

    def _ready(self) -> bool:
        return not self.plane.draining

    def _metrics(self) -> Iterator[str]:
        return render(
            self.plane,
            self._scaler,
            self._standings(),
            self._reloads,
            self.runtime,
            self._driver.sandboxes_ready,
        )

    def _instances(self, service: str | None) -> Awaitable[Listing]:
        return listing(self.plane, self._scaler, self._driver, time.monotonic, service)

    def _instances_of(self, service: str) -> list[InstanceId]:
        return [
            view.instance
            for revision, view in self._scaler.instances()
            if revision.service == service
        ]

    def _standings(self) -> Iterator[Standing]:
        return self._deployments.standings()

    # Between the driver, the scaler and the proxy

    def _exited(self, exit: Exit) -> None:
        self._scaler.exited(exit)
        self._outputs.exited(exit)

    def _publish(self, revision: str, backends: Backends) -> None:
        self.plane.publish(revision, backends)
        self._deployments.published(revision, backends)

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(PULSE)
            now = self.plane.clock()
            self._scaler.observe(now, self.plane.samples(now))
            self._deployments.check()
            self._scale_file.keep(self._scaler, time.time())
            self._save()

    def _save(self) -> None:
        try:
            self._state.save()
        except StateError as error:
            log.error("%s", error)

    # A changed configuration

    def reload(self, path: Path, override: Callable[[Loaded], Loaded]) -> None:
        """Read the file again. A bad one changes nothing and says why.

        Asked while it is being read, it is read once more: it may have changed since.
        The file of the access log is opened again, whatever the other says.
        """
        if self.plane.access is not None:
            self.plane.access.reopen()
        self._stale = True
        if self._reloading is None or self._reloading.done():
            self._reloading = self._hold(self._follow_file(path, override), "reload")

    async def _follow_file(self, path: Path, override: Callable[[Loaded], Loaded]) -> None:
        while self._stale:
            self._stale = False
            # Ten thousand services take a second or two, in which requests go on.
            reading = asyncio.to_thread(_read, path, override, self.runtime)
            try:
                self._apply(await reading)
            except (ConfigError, StateError) as error:
                self._reloads["failure"] += 1
                log.error("reload failed, the old configuration stays:\n%s", error)
            else:
                self._reloads["success"] += 1

    def _apply(self, loaded: Loaded) -> None:
        """Raises ConfigError, StateError."""
        old, new = self.config, loaded.config
        self._check_pinned(loaded)
        fixed = fixed_changes(self._loaded.config, new)
        if fixed:
            log.warning("reload: only a restart can change %s", ", ".join(fixed))
        self._spares.resize(frozen_memory(new))
        changes = diff(old.services, new.services)
        config = replace(
            old,
            domain=new.domain,
            services=new.services,
            trusted_proxies=new.trusted_proxies,
            frozen_memory=new.frozen_memory,
        )
        self._take_over(config, self._deployments.in_use())
        words = [
            f"{len(names)} {what}"
            for what, names in (
                ("added", changes.added),
                ("removed", changes.removed),
                ("changed", changes.changed_template),
                ("retuned", changes.retuned),
                ("rerouted", changes.rerouted),
            )
            if names
        ]
        log.info("reloaded: %s", ", ".join(words) or "nothing changed")
        self._follow_images()

    def _take_over(
        self, config: Config, serving: Mapping[str, Revision], moved: Collection[str] = ()
    ) -> None:
        """Make this the configuration. Raises StateError, and has changed nothing then."""
        services = list(config.services.values())
        pinned = {one.name: self._state.pinned(one) for one in services}
        latest = {one.service: one for one in self._state.revisions(services, serving, moved)}
        self.config = config
        self.plane.trust(config.trusted_proxies)
        self._outputs.reloaded(config.services)
        self._driver.expect(tuple(latest.values()))
        self._deployments.apply(services, config.domain, latest, serving, pinned)

    def _check_pinned(self, loaded: Loaded) -> None:
        """Raises ConfigError for a share of a revision that is not remembered."""
        unknown = [
            (f"services.{name}.traffic[{index}].revision", f"{revision} is not remembered")
            for name, service in loaded.config.services.items()
            for index, revision in self._state.unknown(service)
        ]
        if unknown:
            raise loaded.error(unknown)

    # Names of images that come to mean others

    def _follow_images(self) -> None:
        """Look what they mean now: beside all else, since registries are slow."""
        groups: dict[tuple[str, Pull], list[Revision]] = {}
        for name, service in self.config.services.items():
            image = service.template.image
            if image is not None and (latest := self._state.latest(name)) is not None:
                groups.setdefault((image, service.template.container.pull), []).append(latest)
        for (image, _), revisions in groups.items():
            self._hold(self._follow_image(image, revisions), f"image {image}")

    async def _follow_image(self, image: str, revisions: Sequence[Revision]) -> None:
        """One that means another image makes new revisions, as a changed definition does."""
        try:
            while True:
                found = await self._driver.moved(revisions)
                moved = {one.service for one in found if self._state.latest(one.service) == one}
                if not moved or self.plane.draining:
                    return
                log.info("%s is another image now, for %s", image, ", ".join(sorted(moved)))
                self._take_over(self.config, self._deployments.in_use(), moved)
                latest = [self._state.latest(name) for name in moved]
                revisions = [one for one in latest if one is not None]  # they get the image
        except (DriverError, StateError) as error:
            log.warning("%s", error)

    # From serving to nothing

    async def stop(self, hurry: asyncio.Event) -> None:
        """Finish what is in hand, then stop the instances; ``hurry`` cuts both short."""
        log.info("stopping: %d requests in hand", self.plane.in_hand())
        hurried = asyncio.create_task(hurry.wait())
        drained = self._hold(self.plane.drain(), "to finish what is in hand")
        await asyncio.wait([drained, hurried], return_when=asyncio.FIRST_COMPLETED)
        drained.cancel()
        if self._leave:
            await self._scale_file.close(self._scaler, time.time())
        for task in self._tasks if self._leave else self._tasks - self._strangers:
            task.cancel()
        self.plane.close()
        closed = asyncio.create_task(self._close_instances())
        await asyncio.wait([closed, hurried], return_when=asyncio.FIRST_COMPLETED)
        if not closed.done() and not self._leave:
            await self._kill_all()
        hurried.cancel()
        with suppress(TimeoutError):
            await asyncio.wait_for(closed, _KILL_PATIENCE)
        await self._outputs.close()
        await self._admin.close()
        await self._driver.close()
        self._save()
        self._state.close()
        log.info("stopped")

    async def _close_instances(self) -> None:
        self._deployments.close()
        await self._scaler.close(leave=self._leave)
        if self._strangers:
            await asyncio.wait(self._strangers)

    async def _kill_all(self) -> None:
        with suppress(DriverError, TimeoutError):
            async with asyncio.timeout(_KILL_PATIENCE):
                found = await self._driver.instances()
                await asyncio.gather(
                    *(self._driver.stop(one.instance, 0.0) for one in found),
                    return_exceptions=True,
                )

    def _hold(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._released)
        return task

    def _released(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)


def _read(path: Path, override: Callable[[Loaded], Loaded], runtime: RuntimeKind) -> Loaded:
    """Raises ConfigError, also for what this runtime cannot do."""
    loaded = override(load(path))
    found = misfits(loaded.config, runtime)
    if found:
        raise loaded.error(found)
    return loaded
