"""The requests of one simulation: when each comes, for whom, and how much work it is."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import floor, isnan, nan
from random import Random
from statistics import median
from typing import NamedTuple

from wakeful.proxy.framing import RequestHead
from wakeful.simulate.shapes import Kind, at_random, evenly, segments


@dataclass(frozen=True, slots=True)
class Asker:
    """What is known of a request beside its time, for the wake filters to judge by."""

    head: RequestHead
    address: str

    @classmethod
    def of(cls, method: str, target: str, user_agent: str, address: str) -> Asker:
        head = RequestHead(_octets(method), _octets(target), "1.1")
        head.fields = [b"User-Agent", b": ", _octets(user_agent), b"\r\n"]
        return cls(head, address)

    def asked_by(self, head: RequestHead) -> str:
        return self.address


def _octets(text: str) -> bytes:
    return text.encode("latin-1", "replace")


class Arrival(NamedTuple):
    at: float  # seconds since the simulation began
    service: str
    seconds: float  # that it holds its place in an instance
    tunnel: bool = False  # an upgraded connection, to which no timeout applies
    asker: Asker | None = None  # None: nothing is known, or nobody wants to know


@dataclass(frozen=True, slots=True)
class Traffic:
    """Requests in the order of time; the same ones each time that they are asked for."""

    arrivals: Callable[[], Iterator[Arrival]]
    length: float  # seconds; nothing comes after it
    services: tuple[str, ...]  # those that it is for
    title: str
    begins: float = 0.0  # the Unix time of its second 0, for schedules


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """How long requests take where nobody says it."""

    mean: float  # seconds
    exponential: bool = False

    def draw(self, random: Random) -> float:
        return random.expovariate(1 / self.mean) if self.exponential else self.mean

    def __str__(self) -> str:
        return f"{self.mean:g} s" + (" on average (exponential)" if self.exponential else "")


@dataclass(frozen=True, slots=True)
class Shape:
    """Made-up traffic. ``peak`` is where a shape rises to; see ``levels``."""

    kind: Kind
    rate: float  # requests per second
    peak: float | None
    length: float
    service_time: ServiceTime
    seed: int

    @property
    def levels(self) -> tuple[float, float]:
        """The lowest and the highest rate.

        From ``rate`` to ``peak``; without a peak a spike is ten times the rate,
        and the others go from nothing to the rate.
        """
        if self.peak is not None:
            return self.rate, self.peak
        return (self.rate, 10 * self.rate) if self.kind is Kind.SPIKE else (0.0, self.rate)

    def for_each(self, services: Sequence[str]) -> Traffic:
        """Every service has the whole of it."""
        low, high = self.levels
        rates = f"{low:g} to {high:g}" if self.kind is not Kind.POISSON else f"{high:g}"
        return Traffic(
            lambda: self._arrivals(services),
            self.length,
            tuple(services),
            f"{self.kind}, {rates} requests/s for {self.length:g} s, each {self.service_time}",
        )

    def _arrivals(self, services: Sequence[str]) -> Iterator[Arrival]:
        random, draw = Random(self.seed), self.service_time.draw
        low, high = self.levels
        if self.kind is Kind.POISSON:
            moments = at_random(high, self.length, random.expovariate)
        else:
            moments = evenly(segments(self.kind, low, high, self.length))
        for moment in moments:
            for service in services:
                yield Arrival(moment, service, draw(random))


class Recording:
    """Requests that were read from somewhere, in any order, kept in columns.

    Moments may be of any clock: the simulation begins with the whole second of
    the first, or whatever else ``unit`` (seconds) is whole.
    """

    def __init__(self) -> None:
        self.unit = 1
        self._at = array("d")
        self._seconds = array("d")  # nan: not known
        self._services = array("L")
        self._names: dict[str, int] = {}
        self._tunnels: set[int] = set()
        self._askers: dict[int, Asker] = {}
        self._coarse: defaultdict[int, list[int]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self._at)

    def add(
        self,
        at: float,
        service: str,
        seconds: float | None = None,
        *,
        tunnel: bool = False,
        asker: Asker | None = None,
    ) -> None:
        if tunnel:
            self._tunnels.add(len(self._at))
        if asker is not None:
            self._askers[len(self._at)] = asker
        self._at.append(at)
        self._seconds.append(nan if seconds is None else seconds)
        self._services.append(self._names.setdefault(service, len(self._names)))

    def add_ended(
        self,
        second: int,
        service: str,
        seconds: float | None = None,
        *,
        asker: Asker | None = None,
    ) -> None:
        """One that ended (or, of unknown duration, came) at some time within ``second``.

        All that are said to be of one second are spread over it evenly, in the
        order in which they are added: a crowd at one moment would be an artefact.
        """
        self._coarse[second].append(len(self._at))
        self.add(float(second), service, seconds, asker=asker)

    def traffic(self, title: str, service_time: ServiceTime, seed: int) -> Traffic:
        """Where nobody says how long a request took, it takes as long as the median of its
        service, or what ``service_time`` says if that is not known of any."""
        for second, indexes in self._coarse.items():
            for place, index in enumerate(indexes):
                took = self._seconds[index]
                ended = second + (place + 0.5) / len(indexes)
                self._at[index] = ended - (0.0 if isnan(took) else took)
        self._coarse.clear()
        self._fill(service_time, seed)
        order = array("L", sorted(range(len(self)), key=self._at.__getitem__))
        begin = floor(self._at[order[0]] / self.unit) * self.unit if order else 0
        length = self._at[order[-1]] - begin if order else 0.0
        names = tuple(self._names)
        return Traffic(
            lambda: self._arrivals(order, begin, names), length, names, title, float(begin)
        )

    def _fill(self, service_time: ServiceTime, seed: int) -> None:
        known: defaultdict[int, list[float]] = defaultdict(list)
        for service, seconds in zip(self._services, self._seconds, strict=True):
            if not isnan(seconds):
                known[service].append(seconds)
        typical = {service: median(seconds) for service, seconds in known.items()}
        random = Random(seed)
        for index, seconds in enumerate(self._seconds):
            if isnan(seconds):
                usual = typical.get(self._services[index])
                self._seconds[index] = service_time.draw(random) if usual is None else usual

    def _arrivals(
        self, order: Iterable[int], begin: int, names: Sequence[str]
    ) -> Iterator[Arrival]:
        at, seconds, services = self._at, self._seconds, self._services
        tunnels, asker = self._tunnels, self._askers.get
        for index in order:
            yield Arrival(
                at[index] - begin,
                names[services[index]],
                seconds[index],
                index in tunnels,
                asker(index),
            )
