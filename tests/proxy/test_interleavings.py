"""Every path gives its slot back exactly once, in whatever order things happen.

The data plane, its connections, exchanges, pools and throttlers are the real
ones. What is foreign is in memory: transports, their sockets, and the making
of connections; and time passes only when a rule says so.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.proxy.harness import chunks, get, old, post
from tests.proxy.memory_wires import END, FRAMES, SWITCH, Client, InOrder, Loop, Served, Wire
from tests.proxy.wire import ok
from wakeful.config.model import (
    HostPort,
    Idle,
    Queue,
    Revision,
    Template,
    WaitingPage,
    Wake,
    WakeFilter,
)
from wakeful.events import Backends, Endpoint, Load, Outage
from wakeful.proxy.downstream import Downstream
from wakeful.proxy.exchange import Exchange, Stage
from wakeful.proxy.known import KnownHeads, KnownRequests
from wakeful.proxy.limits import Limits
from wakeful.proxy.server import DataPlane, RouteTo
from wakeful.proxy.throttler import Slot, Throttler

pytestmark = pytest.mark.no_cover  # traced it takes three times as long, to cover what others do

T = TypeVar("T")


# What a client sends, piece by piece.
UPGRADE = get(fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
_POST = b"POST / HTTP/1.1\r\nHost: a.test\r\n"
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n"
MESSAGES: list[list[bytes]] = [
    [get()],
    [get(b"/known")],
    [get(b"/ignored")],
    [get(fields=b"Accept: text/html\r\n")],
    [get(b"/ignored", fields=b"Connection: Upgrade\r\nUpgrade: websocket\r\n")],
    [get(fields=b"Connection: close\r\n")],
    [old(get())],
    [get().replace(b"GET", b"HEAD")],
    [get() * 2],
    [get() + post(b"0123456789") + get()],
    [get() + UPGRADE + FRAMES],
    [get(host=b"nobody.test") + get()],
    [post(b"0123456789")],
    [post(b"0123456789", chunked=True) + get()],
    [post(b"0" * 100)],  # over max_request_body
    [_POST + b"Content-Length: 20\r\n\r\n", b"0123456789", b"0123456789"],
    [_POST + b"Content-Length: 20\r\nExpect: 100-continue\r\n\r\n", b"0" * 20 + get()],
    [_POST + b"Content-Length: 60\r\n\r\n", b"0" * 27],  # what comes next is the rest of it
    [_CHUNKED, chunks(b"5678")],
    [_CHUNKED, chunks(b"0" * 30, b"0" * 30)],  # over max_request_body, as it turns out
    [_CHUNKED, b"nonsense\r\n"],
    [get() + _CHUNKED, b"nonsense\r\n" + get()],
    [UPGRADE],
    [UPGRADE + FRAMES, FRAMES * 9],
    [b"GET / HT", b"TP/1.1\r\nHost: a.test\r\n\r\n"],
    [b"nonsense\r\n\r\n"],
]

# What an instance answers, piece by piece; END is the end of its connection.
ANSWERS: list[list[bytes]] = [
    [ok()],
    *[[ok(fields=b"Date: x\r\n")]] * 3,  # to be known the next time
    [ok(b"")],
    [ok(fields=b"Connection: close\r\n")],
    [b"HTTP/1.1 204 No Content\r\n\r\n"],
    [b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 6\r\n\r\nab", b"cd", b"ef"],
    [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"2\r\nab\r\n", chunks(b"ab")],
    [b"HTTP/1.1 200 OK\r\n\r\n", b"ab", END],
    [b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", b"ab"],
    [b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 2\r\n\r\nab"],
    [b"HTTP/1.1 100 Continue\r\n\r\n", ok()],
    [SWITCH],
]
NONSENSE = [b"nonsense\r\n\r\n", b"5\r\nnonsense", b"x"]

QUEUE = Queue(limit=2, timeout=2.0)


TURNS = st.sampled_from([0, 1, 2, 3, 3, 5])
DELAYS = st.sampled_from([1, 1, 3])
WAYS_OUT = st.sampled_from(["half", "close", "reset"])
HOSTS = st.sampled_from([b"a.test", b"a.test", b"b.test"])
ANY = st.integers(0, 11)
ALL = range(1000)

HOLDING = set(Stage) - {Stage.NEW, Stage.WAITING, Stage.OVER}


def step(**drawn: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule with the turns of the loop behind it."""

    def stepping(act: Callable[..., None]) -> Callable[..., None]:
        @wraps(act)
        def step(machine: Machine, turns: int, **drawn: Any) -> None:
            act(machine, **drawn)
            machine.loop.turn(turns)

        as_rule: Any = rule(turns=TURNS, **drawn)
        return cast(Callable[..., None], as_rule(step))

    return stepping


class Machine(RuleBasedStateMachine):
    """Service a is drawn, b runs one request at a time. A port is the number of an instance."""

    @initialize(
        concurrency=st.sampled_from([1, 1, 2, 0]),
        fixed=st.sampled_from([0, 0, 1, 1, 2]),
        a=st.integers(0, 2),
        b=st.integers(0, 1),
        patient=st.booleans(),
        freeze_after=st.sampled_from([0.0, 0.0, 0.2, 3.0, None]),
    )
    def begin(
        self,
        concurrency: int,
        fixed: int,
        a: int,
        b: int,
        patient: bool,
        freeze_after: float | None = None,
    ) -> None:
        self.loop = Loop()
        self.plane = self.loop.run_until_complete(self.new_plane())
        self.draining: asyncio.Task[None] | None = None
        self.patient = patient  # the clients: they wait for the deadlines
        self.clients: list[Client] = []
        self.throttlers: list[Throttler] = []  # also those that were forgotten
        self.slots: set[Slot] = set()
        self.limits: list[int] = []  # of every instance there ever was
        self.published: dict[int, str] = {}  # instance -> revision
        self.drains: list[int] = []
        self.frozen: set[int] = set()
        upstreams = tuple(HostPort("h", at + 1) for at in range(fixed))
        idle = Idle(freeze_after=freeze_after)
        self.revisions = [revision("a", concurrency, upstreams, idle), revision("b", 1, idle=idle)]
        self.route("a", "b")
        self.publish_to(self.revisions[0], new=fixed or a)
        self.publish_to(self.revisions[1], new=b)

    async def new_plane(self) -> DataPlane:
        plane = DataPlane(self, limits=Limits(buffer=16), clock=self.loop.time)
        plane.connections = InOrder()
        plane.known_requests = KnownRequests(on_sight=True)
        plane.known_responses = KnownHeads(on_sight=True)
        return plane

    def route(self, *services: str) -> None:
        self.plane.route(
            RouteTo(one.service, (f"{one.service}.test",), ((100, one),))
            for one in self.revisions
            if one.service in services
        )
        known = self.plane.throttlers.values()
        self.throttlers += [one for one in known if one not in self.throttlers]

    def publish_to(
        self, to: Revision, *, new: int = 0, gone: Iterable[int] = (), why: Outage | None = None
    ) -> None:
        mine = [number for number, name in self.published.items() if name == to.name]
        for at in gone:
            if at < len(mine):
                del self.published[mine[at]]
        for _ in range(new):
            self.published[len(self.limits)] = to.name
            self.limits.append(to.template.concurrency)
        mine = [number for number, name in self.published.items() if name == to.name]
        endpoints = tuple(Endpoint(f"i{number}", "h", number) for number in mine)
        self.plane.publish(to.name, Backends(endpoints, why))

    # Signals

    def demand(self, revision: str, load: Load) -> None:
        assert load.waiting > 0

    def drained(self, revision: str, instance: str) -> None:
        number = int(instance[1:])
        assert number not in self.published, "drained while in use"
        assert number not in self.drains, "drained twice"
        self.drains.append(number)

    def rest(self, revision: str, instance: str, since: float) -> None:
        number = int(instance[1:])
        assert number not in self.frozen, "frozen twice"
        assert number in self.published, "frozen after it was taken away"
        self.frozen.add(number)

    def rouse(self, revision: str, instance: str) -> None:
        self.frozen.remove(int(instance[1:]))

    # What clients do

    def here(self) -> list[Client]:
        return [one for one in self.clients if not one.over]

    @precondition(lambda self: self.draining is None)
    @step(pieces=st.sampled_from(MESSAGES), host=HOSTS, delay=DELAYS)
    def connect(self, pieces: list[bytes], host: bytes, delay: int) -> None:
        self.new_client(delay).say(pieces, host)

    @precondition(lambda self: self.draining is None)
    @step(
        pieces=st.sampled_from(MESSAGES),
        host=HOSTS,
        delay=DELAYS,
        refused=st.sampled_from([False, False, False, True]),
        fate=st.none() | st.sampled_from(ANSWERS) | WAYS_OUT,
    )
    def come_through(
        self,
        pieces: list[bytes],
        host: bytes,
        delay: int,
        refused: bool,
        fate: list[bytes] | str | None,
    ) -> None:
        """The short way to what may happen while an instance answers, and after it has."""
        self.new_client(delay).say(pieces, host)
        self.loop.turn(2)
        for dial in self.loop.dialling():
            dial.end(None if refused else delay)
        self.loop.turn(3)
        if fate and (asked := self.asked()):
            if isinstance(fate, str):
                asked[-1].leave(fate)
            else:
                asked[-1].answer(fate)

    def new_client(self, delay: int) -> Client:
        client = Client(self.loop, Downstream(self.plane), delay)
        client.downstream.connection_made(client)
        self.clients.append(client)
        return client

    @precondition(lambda self: self.here())
    @step(n=ANY, pieces=st.sampled_from(MESSAGES), host=HOSTS)
    def send(self, n: int, pieces: list[bytes], host: bytes) -> None:
        pick(self.here(), n).say(pieces, host)

    @precondition(lambda self: any(one.owes for one in self.here()))
    @step(n=ANY)
    def send_more(self, n: int) -> None:
        pick([one for one in self.here() if one.owes], n).go_on()

    @precondition(lambda self: self.here())
    @step(n=ANY, how=WAYS_OUT)
    def leave(self, n: int, how: str) -> None:
        pick(self.here(), n).leave(how)

    # What instances do

    def in_use(self) -> list[Served]:
        return [one for one in self.loop.served if not one.over]

    def asked(self) -> list[Served]:
        return [one for one in self.loop.served if one.asked]

    @precondition(lambda self: self.loop.dialling())
    @step(n=ANY, accepted=st.sampled_from([True, True, False]), delay=DELAYS)
    def answer_the_dial(self, n: int, accepted: bool, delay: int) -> None:
        pick(self.loop.dialling(), n).end(delay if accepted else None)

    @precondition(lambda self: self.asked())
    @step(n=ANY, pieces=st.sampled_from(ANSWERS))
    def answer(self, n: int, pieces: list[bytes]) -> None:
        pick(self.asked(), n).answer(pieces)

    @precondition(lambda self: any(one.may_switch for one in self.asked()))
    @step(n=ANY)
    def switch(self, n: int) -> None:
        pick([one for one in self.asked() if one.may_switch], n).answer([SWITCH])

    @precondition(lambda self: any(one.switched for one in self.in_use()))
    @step(n=ANY, times=st.integers(1, 9))
    def send_frames(self, n: int, times: int) -> None:
        pick([one for one in self.in_use() if one.switched], n).send(FRAMES * times)

    @precondition(lambda self: any(one.owes for one in self.in_use()))
    @step(n=ANY)
    def answer_more(self, n: int) -> None:
        pick([one for one in self.in_use() if one.owes], n).go_on()

    @precondition(lambda self: self.in_use())
    @step(n=ANY, data=st.sampled_from(NONSENSE))
    def talk_nonsense(self, n: int, data: bytes) -> None:
        pick(self.in_use(), n).talk_nonsense(data)

    @precondition(lambda self: self.in_use())
    @step(n=ANY, how=WAYS_OUT)
    def hang_up(self, n: int, how: str) -> None:
        pick([*self.asked(), *self.asked(), *self.in_use()], n).leave(how)

    # What happens to either

    def wires(self) -> list[Wire]:
        return [one for one in (*self.clients, *self.loop.served) if not one.lost]

    @precondition(lambda self: self.wires())
    @step(n=ANY)
    def take_nothing(self, n: int) -> None:
        pick(self.wires(), n).stuck = True

    @precondition(lambda self: any(one.stuck for one in self.wires()))
    @step(n=ANY)
    def take_all(self, n: int) -> None:
        pick([one for one in self.wires() if one.stuck], n).take()

    # What the scaler and the operator do

    @step(
        b=st.booleans(),
        new=st.integers(0, 2),
        gone=st.sets(st.integers(0, 5), max_size=2),
        failed=st.sampled_from([False, False, False, True]),
    )
    def publish(self, b: bool, new: int, gone: set[int], failed: bool) -> None:
        to = self.revisions[b]
        if not to.template.upstreams and to.name in self.plane.throttlers:
            if failed:
                why = Outage("start_failed", "no", until=self.loop.time() + 3.0)
                self.publish_to(to, gone=ALL, why=why)
            else:
                self.publish_to(to, new=new, gone=gone)

    @step(retired=st.sampled_from([False, False, True]))
    def route_b(self, retired: bool) -> None:
        """Without its route it goes as soon as nothing is in its hands."""
        b = self.revisions[1]
        if not retired:
            self.route("a", "b")
            return
        self.route("a")
        self.publish_to(b, gone=ALL)
        if not self.plane.in_hand(b.name):
            self.plane.forget(b.name)

    @precondition(lambda self: len(self.clients) > 5 and self.draining is None)
    @step()
    def drain(self) -> None:
        self.draining = self.loop.create_task(self.plane.drain())

    @step(
        seconds=st.sampled_from([0.1, 0.1, 0.3, 0.3, 1.0, 2.1, 5.1, 10.1, 20.1, 76.0]),
        sampled=st.booleans(),
    )
    def pass_time(self, seconds: float, sampled: bool) -> None:
        self.loop.forward(seconds)
        if sampled:
            for sample in self.plane.samples(self.loop.time()).values():
                assert sample.concurrency >= 0

    # What must always be so

    @invariant()
    def check(self) -> None:
        self.it_adds_up()
        self.no_instance_is_asked_more_than_it_may_be()
        self.what_is_gone_and_empty_is_drained()
        self.what_is_frozen_is_not_in_use()
        self.nothing_is_reported()

    def exchanges(self) -> list[Exchange]:
        current = [one.downstream._current for one in self.clients]
        return [one for one in current if one is not None]

    def it_adds_up(self) -> None:
        exchanges = self.exchanges()
        for throttler in self.throttlers:
            mine = [one for one in exchanges if one._throttler is throttler]
            slots = {*throttler.slots, *throttler._suspects, *throttler._retired.values()}
            self.slots |= slots
            holding = [one for one in mine if one._stage in HOLDING]
            waiting = [one for one in mine if one._stage is Stage.WAITING]
            assert throttler.breaker.active == sum(slot.active for slot in slots) == len(holding)
            assert throttler.breaker.waiting == len(waiting)
            ignored = [one for one in mine if one.unusual and one.unusual.ignored is not None]
            assert throttler.ignored == len([one for one in holding if one in ignored])
            assert not any(one in ignored for one in waiting)
            activity = [one for one in (*holding, *waiting) if one not in ignored]
            assert throttler.stats.in_hand == len(activity)
            assert throttler.load().ignored == throttler.ignored
            # Who comes back from an instance that refused goes first, whoever waits.
            assert (
                len([one for one in waiting if not (one.unusual and one.unusual.attempts)])
                <= QUEUE.limit
            )
            if waiting:  # nobody waits beside a free place
                assert all(slot.active >= throttler.limit for slot in throttler.slots)
        for client in self.clients:
            if client.lost and client.downstream._current is not None:
                assert client.downstream._current._stage is Stage.TUNNEL
        for slot in self.slots:
            held = [one for one in exchanges if one._slot is slot and one._stage in HOLDING]
            assert slot.active == len(held)
        assert self.plane.in_hand() == sum(one.in_hand for one in self.throttlers)

    def no_instance_is_asked_more_than_it_may_be(self) -> None:
        inside = [0] * len(self.limits)
        for wire in self.loop.served:
            assert 0 <= wire.unanswered <= 1
            inside[wire.instance] += wire.unanswered
        for limit, count in zip(self.limits, inside, strict=True):
            assert limit == 0 or count <= limit

    def what_is_gone_and_empty_is_drained(self) -> None:
        held = {int(slot.endpoint.instance[1:]) for slot in self.slots if slot.active}
        gone = set(range(len(self.limits))) - set(self.published)
        assert gone - held == set(self.drains)

    def what_is_frozen_is_not_in_use(self) -> None:
        for wire in self.loop.served:
            assert not (wire.unanswered and wire.instance in self.frozen)
        for slot in self.slots:
            if int(slot.endpoint.instance[1:]) in self.frozen:
                assert slot.active == 0

    def nothing_is_reported(self) -> None:
        assert self.loop.reported == [], self.loop.reported
        for task in self.loop.tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    # The end

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            try:
                self.end()
            finally:
                self.loop.close()

    def end(self) -> None:
        """Every client leaves, every deadline passes, every instance is taken away."""
        if self.patient:
            before = self.loop.time()
            self.wait(25.0)
            # Requests behind another one have deadlines of their own.
            assert all(one.started > before for one in self.exchanges())
        for at, client in enumerate(one for one in self.clients if not one.lost):
            client.leave("close" if at % 2 else "reset")
        self.wait(1.0)
        assert all(one._stage is Stage.TUNNEL for one in self.exchanges())
        if not self.patient:
            self.take_instances_away()
        self.wait(75.0)
        assert self.exchanges() == []
        for throttler in self.throttlers:
            assert throttler.breaker.active == throttler.breaker.waiting == 0
            assert throttler.stats.in_hand == throttler.ignored == 0
            assert not throttler._retired
            assert not throttler._suspects
        self.take_instances_away()
        assert sorted(self.drains) == list(range(len(self.limits)))
        draining = self.draining or self.loop.create_task(self.plane.drain())
        self.loop.turn(3)
        assert draining.done()
        assert not self.plane.connections
        assert not self.plane.tunnels
        assert all(task.done() for task in self.loop.tasks)
        assert all(wire.over for wire in (*self.clients, *self.loop.served))
        self.check()

    def take_instances_away(self) -> None:
        for revision in self.revisions:
            self.publish_to(revision, gone=ALL)

    def wait(self, seconds: float) -> None:
        for _ in range(10):
            self.loop.forward(seconds / 10)
            self.loop.turn(5)
            self.check()


def revision(
    name: str,
    concurrency: int,
    upstreams: tuple[HostPort, ...] = (),
    idle: Idle = Idle(),  # noqa: B008 (frozen)
) -> Revision:
    template = Template(
        concurrency=concurrency,
        upstreams=upstreams,
        queue=QUEUE,
        timeout=20.0,
        response_start_timeout=5.0,
        tunnel_idle_timeout=10.0,
        max_request_body=60,
        waiting_page=WaitingPage(enabled=not upstreams),
        wake=Wake() if upstreams else Wake((WakeFilter(path=("/ignored",)),)),
        idle=idle,
    )
    return Revision(name, 1, template)


def pick(these: Sequence[T], n: int) -> T:
    return these[n % len(these)]


TestInterleavings = Machine.TestCase
TestInterleavings.settings = settings(
    max_examples=int(os.environ.get("WAKEFUL_INTERLEAVINGS", "150")),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("side", ["client", "instance"])
def test_a_silent_tunnel_ends_although_one_side_takes_nothing(side: str) -> None:
    machine = Machine()
    machine.begin(concurrency=1, fixed=0, a=1, b=0, patient=False)
    machine.come_through(
        pieces=[UPGRADE], host=b"a.test", delay=1, refused=False, fate=[SWITCH], turns=3
    )
    (client,), (instance,) = machine.clients, machine.loop.served
    (client if side == "client" else instance).stuck = True
    (instance if side == "client" else client).send(FRAMES)
    machine.wait(100.0)
    left = machine.exchanges()
    machine.teardown()
    assert left == []
