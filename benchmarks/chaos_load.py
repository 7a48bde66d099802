"""The load under chaos: clients that ask for many kinds of work, and check every answer.

Each client asks, waits a little and asks again; now and then all clients of a
service pause for some seconds, so that it is frozen, or sleeps and has to be
woken. What came of each request is kept as a Sent.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256

from benchmarks.chaos_client import Answer, Broken, Connection, Refused, Told
from benchmarks.chaos_record import Outcome, Sent

# Seconds from one request of a client to its next.
_NEXT = (0.01, 0.15)
_AGAIN = (0.3, 0.8)


@dataclass(frozen=True, slots=True)
class Kind:
    """A service, and who asks it for what."""

    service: str
    concurrency: int
    clients: int
    settings: Mapping[str, object]
    ask: Callable[[Client, str], Awaitable[None]]
    fillable: bool = False  # its queue is filled on purpose


class Client:
    """Of one service; with a connection that it keeps for as long as it is kept."""

    def __init__(self, load: Load, service: str, chance: random.Random) -> None:
        self.chance = chance
        self._keeps = chance.choice((0.0, 0.9))  # its connection for another request
        self._load = load
        self._service = service
        self._connection = Connection(load.port, service)
        self._method = "GET"

    async def ask(self, ask: Callable[[Client, str], Awaitable[None]]) -> bool:
        """One request, and what came of it is noted; whether it was answered."""
        name = self._load.name(self._service)
        began, outcome, reason = time.monotonic(), Outcome.ANSWERED, ""
        self._method = "GET"
        try:
            await ask(self, name)
        except Told:
            outcome = Outcome.TOLD
        except _Refusal as refusal:
            outcome, reason = Outcome.REFUSED, str(refusal)
        except Broken as broken:
            outcome, reason = broken.outcome, str(broken)
        self._load.sent.append(
            Sent(name, self._service, self._method, began, time.monotonic(), outcome, reason)
        )
        answered = outcome is Outcome.ANSWERED
        if not (answered and self.chance.random() < self._keeps):
            self.close()
        return answered

    def close(self) -> None:
        self._connection.close()

    # What may be asked for. Each raises Told, _Refusal, Broken.

    async def work(
        self, name: str, ms: int, size: int, body: list[bytes] | None = None, pause: float = 0.0
    ) -> None:
        self._method = "GET" if body is None else "POST"
        target = f"/work?id={name}&ms={ms}&size={size}"
        answer = _of_a_service(await self._connection.ask(self._method, target, body, pause))
        first, _, filler = answer.partition(b"\n")
        said, service, _, digest = first.decode().split(" ")
        if (said, service) != (name, self._service):
            raise Broken(Outcome.WRONG, f"answered as {said} by {service}")
        if digest != sha256(b"".join(body or [])).hexdigest():
            raise Broken(Outcome.WRONG, "it got another body")
        if filler != (f"{name}\n".encode() * (size // (len(name) + 1) + 1))[:size]:
            raise Broken(Outcome.WRONG, f"{len(filler)} bytes of an answer of {size}")

    async def stream(self, name: str, lines: int, ms: int) -> None:
        target = f"/stream?id={name}&n={lines}&ms={ms}"
        answer = _of_a_service(await self._connection.ask("GET", target))
        wanted = "".join(f"{name} {self._service} {number}\n" for number in range(lines))
        if answer != wanted.encode():
            raise Broken(Outcome.WRONG, f"{answer.count(10)} lines of {lines}")

    async def converse(self, name: str, messages: int, pause: float) -> None:
        try:
            socket = await self._connection.socket(f"/ws?id={name}")
            for number in range(messages):
                await socket.echo(f"{name} {number} ".encode() * self.chance.randrange(1, 400))
                await asyncio.sleep(pause)
            await socket.end()
        except Refused as refused:
            _of_a_service(refused.answer)
            raise Broken(Outcome.WRONG, f"not upgraded: {refused.answer.status}") from None
        finally:
            self.close()


class _Refusal(Exception):
    """An answer of wakeful's own; its reason."""


def _of_a_service(answer: Answer) -> bytes:
    if answer.reason:
        raise _Refusal(answer.reason)
    if answer.status != 200:
        raise Broken(Outcome.WRONG, f"status {answer.status}: {answer.body[:100]!r}")
    return answer.body


async def _short(client: Client, name: str) -> None:
    await client.work(name, ms=client.chance.randrange(20), size=client.chance.randrange(5000))


async def _long(client: Client, name: str) -> None:
    body = [b"some work"] if client.chance.random() < 0.4 else None
    await client.work(name, ms=client.chance.randrange(500, 3000), size=100, body=body)


async def _stream(client: Client, name: str) -> None:
    await client.stream(name, lines=client.chance.randrange(5, 40), ms=100)


async def _converse(client: Client, name: str) -> None:
    await client.converse(name, messages=client.chance.randrange(5, 50), pause=0.15)


async def _upload(client: Client, name: str) -> None:
    piece = client.chance.randbytes(client.chance.randrange(1, 64 * 1024))
    body = [piece] * client.chance.randrange(1, 20)
    await client.work(name, ms=0, size=100, body=body, pause=client.chance.choice([0, 0.05]))


async def _burst(client: Client, name: str) -> None:
    await client.work(name, ms=150, size=100)


KINDS = (
    Kind("short", 4, 6, {"max-instances": 3}, _short),
    Kind("long", 3, 5, {"max-instances": 4, "network": "sandbox"}, _long),
    Kind("stream", 4, 4, {"max-instances": 3, "network": "sandbox", "timeout": "20s"}, _stream),
    Kind("socket", 8, 4, {"max-instances": 2, "tunnel-drain-timeout": "3s"}, _converse),
    Kind("upload", 2, 3, {"max-instances": 3, "rollout-duration": "5s"}, _upload),
    Kind(
        "burst",
        1,
        0,
        {"max-instances": 2, "queue": {"limit": 6, "timeout": "20s"}},
        _burst,
        fillable=True,
    ),
)

LIMITS = {kind.service: kind.concurrency for kind in KINDS}
FILLABLE = [kind.service for kind in KINDS if kind.fillable]


class Load:
    """All clients of all kinds."""

    def __init__(self, port: int, seed: int) -> None:
        self.port = port
        self.sent: list[Sent] = []
        self._seed = seed
        self._numbers = itertools.count(1)
        self._over = asyncio.Event()
        self._clients: list[asyncio.Task[None]] = []

    def name(self, service: str) -> str:
        """Of a request that has none yet."""
        return f"{service}-{next(self._numbers)}"

    def start(self) -> None:
        for kind in KINDS:
            gate = _Gate(random.Random(f"{self._seed} {kind.service}"))
            for number in range(kind.clients):
                chance = random.Random(f"{self._seed} {kind.service} {number}")
                client = Client(self, kind.service, chance)
                self._clients.append(asyncio.create_task(self._go_on(client, kind, gate)))

    async def burst(self, count: int, chance: random.Random) -> None:
        """So many requests at once to what may be filled; ends when all are over."""
        kind = next(kind for kind in KINDS if kind.fillable)
        clients = [Client(self, kind.service, random.Random(chance.random())) for _ in range(count)]
        await asyncio.gather(*(client.ask(kind.ask) for client in clients))

    async def end(self) -> None:
        """Ask for nothing more, and wait for what is under way."""
        self._over.set()
        await asyncio.gather(*self._clients)

    async def _go_on(self, client: Client, kind: Kind, gate: _Gate) -> None:
        while not self._over.is_set():
            if shut := gate.shut(time.monotonic()):
                client.close()
                await self._pause(shut)
            else:
                answered = await client.ask(kind.ask)
                # Who was turned away does not come back at once.
                await self._pause(client.chance.uniform(*(_NEXT if answered else _AGAIN)))
        client.close()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._over.wait()
        except TimeoutError:
            pass


class _Gate:
    """When the clients of one service ask, and when they all pause."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._open = True
        self._until = time.monotonic() + chance.uniform(4, 15)

    def shut(self, now: float) -> float:
        """For how many seconds from now; 0 when it is open."""
        if now >= self._until:
            self._open = not self._open
            self._until = now + self._chance.uniform(*((5, 20) if self._open else (1.5, 12)))
        return 0 if self._open else self._until - now
