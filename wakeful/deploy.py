"""From a changed definition to the revision that answers: ready first, then step by step.

Owns which revisions of a service get its requests, and with that the routes.
A revision that is in use goes on answering until the next one is ready, and
for good if that never happens; how requests then move is in ``proxy.rollout``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from wakeful.clock import Now
from wakeful.config.model import Revision, Service
from wakeful.events import Backends, Endpoint
from wakeful.proxy.rollout import (
    SECOND,
    Rollout,
    Share,
    begin,
    in_force,
    resized,
    settled,
    step,
)
from wakeful.proxy.server import DataPlane, RouteTo
from wakeful.scaler.autoscaler import Autoscaler
from wakeful.scaler.bounds import Bounds, initial_scale

log = logging.getLogger("wakeful.deploy")


Shares: TypeAlias = tuple[tuple[int, Revision], ...]  # in percent


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a service's requests go, and why not elsewhere; names as in Knative's status."""

    service: str
    latest_created: str
    latest_ready: str
    traffic: tuple[Share, ...]  # oldest first
    message: str = ""  # why the latest created one is not ready yet, as far as is known

    @property
    def pending(self) -> bool:
        """Another revision than the latest serves."""
        return self.latest_created != self.latest_ready

    @property
    def moving(self) -> bool:
        """Not every request goes to the latest revision."""
        return self.pending or len(self.traffic) > 1


@dataclass(slots=True, eq=False)
class _Deployment:
    """One service."""

    service: Service
    hosts: tuple[str, ...]
    latest: Revision
    rollout: Rollout  # of what is not pinned; the newest that has a share was ready last
    holders: dict[str, Revision]  # they
    pinned: Shares = ()  # of older revisions, whatever becomes the latest
    timer: asyncio.TimerHandle | None = field(default=None)

    @property
    def awaits(self) -> bool:
        """The latest revision is not ready yet."""
        return self.latest.name != self.rollout.newest

    def revisions(self) -> Iterator[Revision]:
        for _, revision in self.pinned:
            yield revision
        yield from self.holders.values()
        if self.awaits:
            yield self.latest

    def traffic(self) -> tuple[Share, ...]:
        """Every revision that gets requests, oldest first."""
        percents: Counter[str] = Counter()
        for percent, revision in self.pinned:
            percents[revision.name] += percent
        for share in self.rollout.shares:
            percents[share.revision] += share.percent
        return tuple(Share(name, percent) for name, percent in sorted(percents.items()) if percent)

    def route(self) -> RouteTo:
        shares = [*self.pinned]
        shares += [(one.percent, self.holders[one.revision]) for one in self.rollout.shares]
        if self.awaits:
            shares.append((0, self.latest))
        return RouteTo(self.service.name, self.hosts, tuple(shares))


class Deployments:
    """Every service's revisions, from their making to their retirement.

    ``settled`` is called with the name of a service whose latest revision has
    all its requests from then on.
    """

    def __init__(
        self,
        plane: DataPlane,
        scaler: Autoscaler,
        *,
        now: Now,
        settled: Callable[[str], None],
    ) -> None:
        self._plane = plane
        self._scaler = scaler
        self._now = now
        self._settled = settled
        self._deployments: dict[str, _Deployment] = {}
        self._awaited: dict[str, _Deployment] = {}  # by the name of the revision
        self._retired: set[str] = set()

    # Called when the configuration changes

    def in_use(self) -> dict[str, Revision]:
        """The newest ready revision of every service that has instances ready now."""
        newest = {name: it.holders[it.rollout.newest] for name, it in self._deployments.items()}
        return {name: revision for name, revision in newest.items() if self._answers(revision)}

    def apply(
        self,
        services: Iterable[Service],
        domain: str,
        latest: Mapping[str, Revision],
        serving: Mapping[str, Revision],
        pinned: Mapping[str, Shares] = MappingProxyType({}),
    ) -> None:
        """Make these the services, with these as their latest revisions.

        Where ``serving`` names another one, it answers until the latest is ready.
        What is ``pinned`` gets its share at once; the rest is the latest's.
        """
        before = {revision.name for it in self._deployments.values() for revision in it.revisions()}
        known, self._deployments = self._deployments, {}
        for service in services:
            new = latest[service.name]
            it = known.pop(service.name, None) or _first(serving.get(service.name, new), service)
            it.service, it.hosts = service, hosts_of(service, domain)
            it.pinned = pinned.get(service.name, ())
            self._deployments[service.name] = it
            self._renew(it, new, wait=service.name in serving)
        for it in known.values():
            _stop(it)

        after = {rev.name: rev for it in self._deployments.values() for rev in it.revisions()}
        for revision in after.values():
            self._retired.discard(revision.name)
            if not revision.template.upstreams:
                self._scaler.add(revision)
        self._plane.route(it.route() for it in self._deployments.values())
        for revision in after.values():
            if revision.template.upstreams:
                self._plane.publish(revision.name, fixed_backends(revision))
        for name in before - after.keys():
            self._retire(name)
        self._bring_up([it for it in self._deployments.values() if it.awaits])

    def close(self) -> None:
        """Move nothing any more."""
        for it in self._deployments.values():
            _stop(it)
        self._awaited = {}

    # Called as time goes by

    def published(self, revision: str, backends: Backends) -> None:
        """What there is of a revision has changed."""
        it = self._awaited.get(revision)
        if it is None:
            return
        if backends.outage is None:
            self._look(it)
            return
        log.error(
            "%s: %s cannot take over: %s; %s goes on serving, the next try is in %.0f s",
            it.service.name,
            revision,
            self._message(it),
            it.rollout.newest,
            max(0.0, backends.outage.until - self._now()),
        )

    def check(self) -> None:
        """About once a second: what no message tells of."""
        for it in list(self._awaited.values()):
            self._look(it)
        for name in list(self._retired):
            if name not in self._scaler and not self._plane.in_hand(name):
                self._retired.discard(name)
                self._plane.forget(name)

    # Called to show what is

    def standings(self) -> Iterator[Standing]:
        for name, it in list(self._deployments.items()):
            yield Standing(
                service=name,
                latest_created=it.latest.name,
                latest_ready=it.rollout.newest,
                traffic=it.traffic(),
                message=self._message(it) if it.awaits else "",
            )

    # A new revision of a service

    def _renew(self, it: _Deployment, latest: Revision, *, wait: bool) -> None:
        changed = latest.name != it.latest.name
        it.latest = latest
        percent = 100 - sum(pinned for pinned, _ in it.pinned)
        if percent != it.rollout.percent:
            self._give(it, resized(it.rollout, percent))
        if latest.name in it.holders:
            it.holders[latest.name] = latest  # other settings of the same definition
        if changed and not wait:
            self._give(it, settled(latest.name, percent))
        elif changed and not _needed(latest):
            self._give(it, self._next(it))
        elif not it.service.rollout_duration and not it.rollout.over:
            self._give(it, settled(it.rollout.newest, percent))

    def _bring_up(self, these: list[_Deployment]) -> None:
        before, self._awaited = self._awaited, {it.latest.name: it for it in these}
        for it in these:
            name = it.latest.name
            if name not in before:
                log.info(
                    "%s: %s is started; %s serves until it is ready",
                    it.service.name,
                    name,
                    it.rollout.newest,
                )
            # All requests at once need as many instances as they have now.
            at_once = it.rollout.percent and not it.service.rollout_duration
            self._scaler.bring_up(name, sum(map(self._scaler.ready, it.holders)) if at_once else 0)

    def _look(self, it: _Deployment) -> None:
        """Whether the latest is ready: its initial scale is, and no more of it is on its way."""
        status = self._scaler.status(it.latest.name)
        if status is not None and status.ready >= _needed(it.latest) and not status.starting:
            self._take_over(it)

    def _take_over(self, it: _Deployment) -> None:
        name, before = it.latest.name, it.rollout.newest
        del self._awaited[name]
        self._scaler.arrived(name)
        self._move(it, self._next(it))
        if it.rollout.over:
            log.info("%s: %s is ready and takes over from %s", it.service.name, name, before)
        else:
            log.info(
                "%s: %s is ready; requests move to it from %s within %g s",
                it.service.name,
                name,
                before,
                it.service.rollout_duration,
            )

    # Requests that move

    def _next(self, it: _Deployment) -> Rollout:
        """How the latest gets its requests, from now on."""
        name, duration = it.latest.name, it.service.rollout_duration
        if not duration:
            return settled(name, it.rollout.percent)
        now = self._nanoseconds()
        # Routes of this process are in force at once, so steps may be as short as a second.
        return in_force(begin(it.rollout, name, now), duration, now)

    def _step(self, it: _Deployment) -> None:
        pace = it.rollout.pace
        assert pace is not None
        # A loop's timer may be early by the resolution of its clock.
        self._move(it, step(it.rollout, max(self._nanoseconds(), pace.due)))
        if it.rollout.over:
            log.info("%s: all requests go to %s", it.service.name, it.rollout.newest)

    def _move(self, it: _Deployment, rollout: Rollout) -> None:
        before = it.holders
        self._give(it, rollout)
        self._plane.reroute(it.route())
        for name in before.keys() - {one.name for one in it.revisions()}:
            self._retire(name)

    def _give(self, it: _Deployment, rollout: Rollout) -> None:
        """These get the requests, as soon as there are routes that say so."""
        _stop(it)
        known = it.holders | {it.latest.name: it.latest}
        it.rollout = rollout
        it.holders = {share.revision: known[share.revision] for share in rollout.shares}
        if rollout.pace is not None:
            delay = (rollout.pace.due - self._nanoseconds()) / SECOND
            it.timer = asyncio.get_running_loop().call_later(delay, self._step, it)
        elif not it.awaits:
            self._settled(it.service.name)

    # Helpers

    def _retire(self, name: str) -> None:
        self._retired.add(name)
        self._plane.retire(name)
        self._scaler.retire(name)

    def _answers(self, revision: Revision) -> bool:
        return bool(revision.template.upstreams) or self._scaler.ready(revision.name) > 0

    def _message(self, it: _Deployment) -> str:
        status = self._scaler.status(it.latest.name)
        return (status.failure if status else "") or "not ready yet"

    def _nanoseconds(self) -> int:
        return round(self._now() * SECOND)


def hosts_of(service: Service, domain: str) -> tuple[str, ...]:
    """The names it answers for."""
    return (f"{service.name}.{domain}", *service.domains)


def fixed_backends(revision: Revision) -> Backends:
    """What there is of a revision that answers from fixed addresses, always."""
    return Backends(
        tuple(
            Endpoint(str(upstream), upstream.host, upstream.port)
            for upstream in revision.template.upstreams
        )
    )


def _needed(revision: Revision) -> int:
    """How many of it must be ready before it gets requests."""
    if revision.template.upstreams:
        return 0
    return initial_scale(Bounds.of(revision.template))


def _first(serving: Revision, service: Service) -> _Deployment:
    return _Deployment(service, (), serving, settled(serving.name), {serving.name: serving})


def _stop(it: _Deployment) -> None:
    if it.timer is not None:
        it.timer.cancel()
        it.timer = None
