"""The data plane: the listener, the routes, and one throttler per revision."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import Callable, Iterable, Mapping, MutableSet, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from wakeful.config.model import HostPort, Network, Revision
from wakeful.events import Backends, Endpoint, Sample
from wakeful.proxy.access import AccessLog
from wakeful.proxy.downstream import Downstream
from wakeful.proxy.framing import ResponseHead
from wakeful.proxy.identities import identities
from wakeful.proxy.known import KnownHeads, KnownRequests
from wakeful.proxy.limits import Limits
from wakeful.proxy.pool import Pool
from wakeful.proxy.reply import DateField
from wakeful.proxy.router import Route, RouteTable
from wakeful.proxy.throttler import Signals, Slot, Throttler
from wakeful.proxy.tunnel import Tunnel

log = logging.getLogger("wakeful.proxy")

_SWEEP_SECONDS = 0.25
# Connections that are looked at in one go. With many the memory of each is far away, which costs
# a microsecond, and whoever asks meanwhile has to wait.
_AT_ONCE: Final = 64
# From the end of an instance until what it sent before must have come.
_LAST_WORDS = 1.0
_BACKLOG: Final = 4096


@dataclass(frozen=True, slots=True)
class RouteTo:
    """One service's hosts, and the revisions its requests go to, in percent.

    A revision of 0 percent gets none, and may be published to all the same.
    """

    service: str
    hosts: tuple[str, ...]
    shares: tuple[tuple[int, Revision], ...]


class DataPlane:
    """Serves HTTP/1.1 until it is told to drain."""

    def __init__(
        self,
        signals: Signals,
        *,
        access: AccessLog | None = None,
        limits: Limits | None = None,
        trusted: Sequence[Network] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits or Limits()
        self.trusted = trusted  # proxies in front, whose word on who asked is taken
        self.clock = clock
        self.access = access
        self.routes: RouteTable[Throttler] = RouteTable({})
        self.throttlers: dict[str, Throttler] = {}
        self.connections: MutableSet[Downstream] = set()
        # Connections that left HTTP, and whose they are.
        self.tunnels: dict[Tunnel, tuple[Throttler, str]] = {}  # of a revision, in an instance
        self.draining = False
        self.unrouted: dict[str, int] = {}  # rejections that belong to no revision
        self.identities = identities()
        self.known_requests = KnownRequests()
        self.known_responses: KnownHeads[ResponseHead] = KnownHeads()
        self.randrange = random.randrange
        dates = DateField()
        self.date: Callable[[], bytes] = lambda: dates.at(time.time())  # of an answer that has none
        self._signals = signals
        self._loop = asyncio.get_running_loop()
        self._server: asyncio.Server | None = None
        self._awake: set[Throttler] = set()
        self._idling: set[Throttler] = set()  # may hold idle upstream connections
        self._restless: set[Throttler] = set()  # have instances that may have to be frozen
        self._ended: dict[str, float] = {}  # instances, and when what is in them is given up
        self._sweeping: asyncio.TimerHandle | None = None
        self._looking: asyncio.Handle | None = None
        self._second = clock()  # when the one began that heads of answers are remembered for

    # Called by the application

    async def bind(self, address: HostPort) -> None:
        """Take the address, and accept nothing yet. Raises OSError when it cannot be had."""
        self._server = await self._loop.create_server(
            lambda: Downstream(self),
            address.host or None,
            address.port,
            backlog=_BACKLOG,
            start_serving=False,
        )

    async def listen(self, address: HostPort | None = None) -> None:
        """Accept connections, at ``address`` or where it was bound. Raises OSError."""
        if address is not None:
            await self.bind(address)
        assert self._server is not None
        await self._server.start_serving()

    @property
    def port(self) -> int:
        """Where it listens in the end, also when port 0 was asked for."""
        assert self._server is not None
        # A list of uvloop's, where asyncio has a tuple: compiled code would insist on that.
        sockets: Sequence[socket.socket] = cast(Any, self._server).sockets
        return int(sockets[0].getsockname()[1])

    def trust(self, proxies: Sequence[Network]) -> None:
        """Whose word on who asked is taken from now on, also over connections that there are."""
        if proxies != self.trusted:
            self.trusted = proxies
            for connection in self.connections:
                connection.judge()

    def route(self, routes: Iterable[RouteTo]) -> None:
        """Replace the whole table; revisions without a route go on until ``forget``."""
        table: dict[str, Route[Throttler]] = {}
        for to in routes:
            table |= dict.fromkeys(to.hosts, self._route(to))
        self.routes = RouteTable(table)

    def reroute(self, to: RouteTo) -> None:
        """Other shares for one service, whose hosts stay what they are."""
        self.routes = self.routes.replaced(dict.fromkeys(to.hosts, self._route(to)))

    def retire(self, revision: str) -> None:
        """No route leads to it any more: what is joined to its instances has its time to go."""
        retired = self.throttlers.get(revision)
        if retired is None:
            return
        retired.routed = False
        for joined, (throttler, _) in self.tunnels.items():
            if throttler is retired:
                self._dismiss(joined, throttler)

    def publish(self, revision: str, backends: Backends) -> None:
        throttler = self.throttlers.get(revision)
        if throttler is None:
            return
        throttler.publish(backends)
        for instance in backends.ended:
            if throttler.inside(instance):
                # Its address may be another's soon: nobody waits for a connection to it.
                for connection in list(self.connections):
                    connection.instance_ended(instance, final=False)
                self._ended.setdefault(instance, self.clock() + _LAST_WORDS)
                self._watch()

    def has_ended(self, instance: str) -> bool:
        """Of one with requests in it: whether its end is known. Its address may be another's."""
        return instance in self._ended

    def samples(self, now: float) -> Mapping[str, Sample]:
        """Since the last call, of every revision that had or has requests."""
        samples: dict[str, Sample] = {}
        for throttler in list(self._awake):
            sample = samples[throttler.name] = throttler.sample(now)
            if not sample.requests and not throttler.in_hand:
                throttler.awake = False
                self._awake.discard(throttler)
        return samples

    def in_hand(self, revision: str | None = None) -> int:
        """Requests that were accepted and not answered in full, tunnels included."""
        if revision is not None:
            throttler = self.throttlers.get(revision)
            return throttler.in_hand if throttler else 0
        return sum(throttler.in_hand for throttler in self._awake)

    def forget(self, revision: str) -> None:
        """Drop a revision that has no route and nothing in hand."""
        throttler = self.throttlers.pop(revision, None)
        if throttler is not None:
            throttler.publish(Backends())
            self._awake.discard(throttler)
            self._idling.discard(throttler)
            self._restless.discard(throttler)

    async def drain(self) -> None:
        """Accept nothing new and finish what is here; cancel it to stop waiting."""
        self.draining = True
        if self._server is not None:
            self._server.close()
        for joined, (throttler, _) in self.tunnels.items():
            self._dismiss(joined, throttler)
        while True:
            # Again each time: the answer to a request that is finished meanwhile
            # may have promised that its connection is kept.
            for connection in list(self.connections):
                connection.close_if_idle()
            if not self.connections and not self.in_hand():
                return
            await asyncio.sleep(0.02)

    def close(self) -> None:
        """Cut whatever is left."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.cut(reset=True)
        for joined in list(self.tunnels):
            joined.cut()
        for throttler in self.throttlers.values():
            throttler.close_idle(float("inf"))
        for handle in (self._sweeping, self._looking):
            if handle is not None:
                handle.cancel()
        if self.access is not None:
            self.access.close()

    # Called on the path of a request

    def connected(self, connection: Downstream) -> None:
        self.connections.add(connection)
        self._watch()

    def tunnelled(self, joined: Tunnel, throttler: Throttler, instance: str) -> None:
        self.tunnels[joined] = throttler, instance
        self._watch()
        if self.draining or not throttler.routed:
            self._dismiss(joined, throttler)

    def wake(self, throttler: Throttler, now: float) -> None:
        throttler.awake = True
        throttler.stats.rest(now)
        self._awake.add(throttler)

    def count_rejected(self, throttler: Throttler | None, reason: str) -> None:
        counts = self.unrouted if throttler is None else throttler.counters.rejected
        counts[reason] = counts.get(reason, 0) + 1

    def log_broken(self, throttler: Throttler | None, slot: Slot | None, detail: str) -> None:
        log.warning(
            "%s: malformed answer from %s: %s",
            throttler.name if throttler else "?",
            slot.endpoint.instance if slot else "?",
            detail,
        )

    # Private

    def _route(self, to: RouteTo) -> Route[Throttler]:
        shares = [(percent, self._throttler(revision)) for percent, revision in to.shares]
        return Route(to.service, tuple(share for share in shares if share[0]))

    def _give_up(self, instance: str) -> None:
        """It has ended. Who has heard nothing of that, because its network went first, does now."""
        for connection in list(self.connections):
            connection.instance_ended(instance, final=True)
        for joined, (_, its) in list(self.tunnels.items()):
            if its == instance:
                joined.cut()

    def _dismiss(self, joined: Tunnel, throttler: Throttler) -> None:
        joined.go_away(self.clock() + throttler.template.tunnel_drain_timeout)

    def _throttler(self, revision: Revision) -> Throttler:
        throttler = self.throttlers.get(revision.name)
        if throttler is not None:
            throttler.routed = True
            throttler.retune(revision)
        else:
            throttler = self.throttlers[revision.name] = Throttler(
                revision,
                self._signals,
                now=self.clock(),
                new_pool=lambda endpoint: self._pool(revision.name, endpoint),
                randrange=self.randrange,
                call_later=self._loop.call_later,
                clock=self.clock,
                watch=lambda: self._rests(revision.name),
            )
        return throttler

    def _pool(self, revision: str, endpoint: Endpoint) -> Pool:
        return Pool(
            endpoint.host,
            endpoint.port,
            loop=self._loop,
            clock=self.clock,
            known=self.known_responses,
            watch=lambda: self._idles(revision),
        )

    def _idles(self, revision: str) -> None:
        throttler = self.throttlers.get(revision)
        if throttler is not None:
            self._idling.add(throttler)
            self._watch()

    def _rests(self, revision: str) -> None:
        throttler = self.throttlers.get(revision)
        if throttler is not None:
            self._restless.add(throttler)
            self._watch()

    def _watch(self) -> None:
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """One coarse timer for every deadline; it rests when there is nothing to watch."""
        self._sweeping = None
        now = self.clock()
        if self._looking is None:
            self._look([*self.connections, *self.tunnels], 0)
        for instance in [name for name, at in self._ended.items() if now >= at]:
            del self._ended[instance]
            self._give_up(instance)
        before = now - self.limits.pool_idle
        self._idling = {one for one in self._idling if one.close_idle(before)}
        self._restless = {one for one in self._restless if one.rest_idle(now)}
        if now - self._second >= 1.0:  # by now their Date is another
            self._second = now
            self.known_responses.forget()
        if self.connections or self.tunnels or self._idling or self._restless or self._ended:
            self._watch()

    def _look(self, connections: Sequence[Downstream | Tunnel], start: int) -> None:
        """At some of the connections now, at the others between requests.

        One that has ended by then has no deadline that matters.
        """
        end = start + _AT_ONCE
        more = end < len(connections)
        self._looking = self._loop.call_soon(self._look, connections, end) if more else None
        now = self.clock()
        for one in connections[start:end]:
            one.check(now)
