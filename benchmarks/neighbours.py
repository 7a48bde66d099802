"""What a warm service feels while others start: its p99, and that of an nginx at the same time.

Both get requests at the same constant rate, from the same program, and pass them to the same
backend. In the middle of it other services are asked for, all at once, so that a container
starts for each. On a machine that is busy with that everybody waits longer: what nginx waits
longer is the machine's part of it.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

import click
from docker.api.client import APIClient

from benchmarks import machine, steady
from benchmarks.children import CannotMeasure, Child, free_port, started
from benchmarks.coldstart import wait_until_ready
from benchmarks.cycled import COMMAND, hello_image, remove_all
from benchmarks.held import EngineHoldings
from benchmarks.peers import HOST, PEERS, run_wakeful
from benchmarks.table import number, table
from benchmarks.targets import Cores, lineup
from wakeful.runtime.sandbox_stock import MOST

_BODY = 100  # bytes of an answer
_CONNECTIONS = 200
_SETTLED = 2.0  # seconds after the latest start or stop, and after the load began
_PATIENCE = 120.0
_MOST = 1.5  # times the p99 of the undisturbed, beside the machine's part


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of one proxy in one stretch of time, in ms from the moment each was to be sent."""

    answered: Sequence[float]
    failed: int

    @classmethod
    def of(
        cls, samples: Sequence[steady.Sample], port: int, began: float, ended: float
    ) -> Latencies:
        """Raises CannotMeasure when there was next to nothing."""
        these = [each for each in samples if each.port == port and began <= each.at < ended]
        good = [each.seconds * 1000 for each in these if each.seconds is not None]
        if len(good) < 2:
            raise CannotMeasure(f"{len(good)} of {len(these)} requests were answered")
        return cls(good, len(these) - len(good))

    @classmethod
    def together(cls, several: Sequence[Latencies]) -> Latencies:
        answered = [each for one in several for each in one.answered]
        return cls(answered, sum(one.failed for one in several))

    def quantile(self, hundredth: int) -> float:
        return quantiles(self.answered, n=100, method="inclusive")[hundredth - 1]

    def as_json(self) -> dict[str, float]:
        return {
            "requests": len(self.answered) + self.failed,
            "failed": self.failed,
            "p50": self.quantile(50),
            "p99": self.quantile(99),
            "longest": max(self.answered),
        }


@dataclass(frozen=True, slots=True)
class Pair:
    calm: Latencies
    busy: Latencies

    @classmethod
    def together(cls, several: Sequence[Pair]) -> Pair:
        calm = Latencies.together([each.calm for each in several])
        return cls(calm, Latencies.together([each.busy for each in several]))

    @property
    def added(self) -> float:
        """To the p99, in ms."""
        return self.busy.quantile(99) - self.calm.quantile(99)

    def as_json(self) -> dict[str, object]:
        return {"calm": self.calm.as_json(), "busy": self.busy.as_json()}


@dataclass(frozen=True, slots=True)
class Round:
    wakeful: Pair
    nginx: Pair
    seconds: float  # that the starts took
    starts: Sequence[float]  # what each of the others waited, in seconds

    def as_json(self) -> dict[str, object]:
        return {
            "wakeful": self.wakeful.as_json(),
            "nginx": self.nginx.as_json(),
            "seconds": self.seconds,
            "starts": list(self.starts),
        }


class Report:
    """Judged by the requests of all rounds together.

    In one round the longest three or four waits for a processor are the p99, and whose they
    are is chance.
    """

    def __init__(
        self,
        host: machine.Machine,
        rate: float,  # requests a second, to each
        services: int,  # that start
        network: str,
        rounds: Sequence[Round],
    ) -> None:
        self._machine = host
        self._rate = rate
        self._services = services
        self._network = network
        self._rounds = rounds
        self._wakeful = Pair.together([each.wakeful for each in rounds])
        self._nginx = Pair.together([each.nginx for each in rounds])
        # What the machine itself adds to a p99, in ms: not less than nothing.
        self._machines_part = max(0.0, self._nginx.added)
        self._undisturbed = self._wakeful.calm.quantile(99)
        self._disturbed = self._wakeful.busy.quantile(99)

    @property
    def allowed(self) -> float:
        """The p99 while they start, in ms."""
        return _MOST * self._undisturbed + self._machines_part

    @property
    def held(self) -> bool:
        failed = self._wakeful.calm.failed + self._wakeful.busy.failed
        return not failed and self._disturbed <= self.allowed

    def as_json(self) -> dict[str, object]:
        return {
            "benchmark": "neighbours",
            "machine": self._machine.as_json(),
            "rate": self._rate,
            "services": self._services,
            "network": self._network,
            "rounds": [each.as_json() for each in self._rounds],
            "wakeful": self._wakeful.as_json(),
            "nginx": self._nginx.as_json(),
            "machines_part_ms": self._machines_part,
            "allowed_ms": self.allowed,
            "held": self.held,
        }

    def __str__(self) -> str:
        rows = [
            _row("wakeful, undisturbed", self._wakeful.calm),
            _row("wakeful, while they start", self._wakeful.busy),
            _row("nginx, undisturbed", self._nginx.calm),
            _row("nginx, while they start", self._nginx.busy),
        ]
        waits = [seconds for one in self._rounds for seconds in one.starts]
        took = median(one.seconds for one in self._rounds)
        verdict = "held" if self.held else "NOT HELD"
        return "\n".join(
            [
                str(self._machine),
                f"{self._rate:g} requests/s through each, {len(self._rounds)} rounds together; "
                f"{self._services} containers start at once (network {self._network}), "
                f"which takes {took:.1f} s, {median(waits):.1f} s for each",
                "",
                table(("ms", "p50", "p99", "longest", "failed"), rows),
                "",
                f"wakeful's p99 while they start: {self._disturbed:.2f} ms, "
                f"allowed are {self.allowed:.2f}: {_MOST:g} x {self._undisturbed:.2f} "
                f"and the machine's part, {self._machines_part:.2f}. {verdict}",
            ]
        )


def _row(name: str, seen: Latencies) -> tuple[str, ...]:
    figures = (seen.quantile(50), seen.quantile(99), max(seen.answered))
    return (name, *(number(each, 2) for each in figures), number(seen.failed, 0))


@click.command("neighbours")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--services", type=click.IntRange(1), default=20, show_default=True)
@click.option("--rate", type=click.FloatRange(1), default=1000, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0.5), default=5.0, show_default=True, help="Undisturbed."
)
@click.option(
    "--network", type=click.Choice(["bridge", "sandbox"]), default="bridge", show_default=True
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
@click.pass_context
def command(
    context: click.Context,
    rounds: int,
    services: int,
    rate: float,
    seconds: float,
    network: str,
    json_file: Path | None,
) -> None:
    """A warm service's p99 while containers start beside it; exit code 1 if it is too long."""
    with hello_image("neighbours") as (client, tag):
        report = measure(client, tag, rounds, services, rate, seconds, network)
    click.echo(str(report))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if not report.held:
        context.exit(1)


def measure(
    client: APIClient,
    tag: str,
    rounds: int,
    services: int,
    rate: float,
    seconds: float,
    network: str,
) -> Report:
    """Raises CannotMeasure."""
    host = machine.describe()
    nginx = PEERS["nginx"]
    if (program := nginx.find()) is None:
        raise CannotMeasure("nginx is not installed, beside which wakeful is measured")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wakeful-bench-")))
        backends = stack.enter_context(lineup(folder / "lineup", Cores(None, None), _BODY))
        backend = backends.start_backend(uploads=False)
        beside = backends.start(nginx, program, _CONNECTIONS)
        stage = stack.enter_context(_stage(client, tag, folder, backend.port, services, network))
        seen = [_round(stage, folder, beside.port, rate, seconds) for _ in range(rounds)]
        return Report(host, rate, services, network, seen)


@dataclass(frozen=True, slots=True)
class _Stage:
    """A wakeful with one warm service, and others that sleep."""

    child: Child
    port: int
    others: Sequence[str]
    engine: EngineHoldings
    stock: int  # of network sandboxes, when nothing is under way

    def wake(self) -> list[float]:
        """All the others, at once; what each waited."""
        with ThreadPoolExecutor(len(self.others)) as clients:
            return list(clients.map(self._ask, self.others))

    def wait_until_asleep(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while self.engine.instances() or self.engine.sandboxes() < self.stock:
            if not self.child.alive or time.monotonic() > deadline:
                raise CannotMeasure("wakeful has not stopped its containers in time")
            time.sleep(0.2)

    def _ask(self, service: str) -> float:
        began = time.monotonic()
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)
        try:
            client.request("GET", "/", headers={"Host": f"{service}.localhost"})
            answer = client.getresponse()
            if answer.status != 200:
                raise CannotMeasure(f"{service} was answered with {answer.status}")
        finally:
            client.close()
        return time.monotonic() - began


@contextmanager
def _stage(
    client: APIClient, tag: str, folder: Path, backend: int, services: int, network: str
) -> Iterator[_Stage]:
    """Raises CannotMeasure, with what wakeful said."""
    others = [f"s{number}" for number in range(services)]
    definitions: dict[str, object] = {
        HOST.partition(".")[0]: {"upstreams": [f"127.0.0.1:{backend}"], "concurrency": 1000}
    }
    idle = {"freeze-after": "never", "stop-after": "0s"}
    scale = {"window": "6s"}
    for name in others:
        definitions[name] = {
            **{"image": tag, "command": COMMAND, "network": network},
            **{"scale": scale, "idle": idle},
        }
    port = free_port()
    run = run_wakeful(sys.executable, folder, port, definitions, "docker")
    with started(run, folder, name="wakeful") as child:
        wait_until_ready(child, port)
        owner = json.loads((folder / "state" / "state.json").read_text())["owner"]
        stock = min(services, MOST) if network == "sandbox" else 0
        try:
            stage = _Stage(child, port, others, EngineHoldings(client, owner), stock)
            stage.wake()  # not counted: it fills caches, and the stock of sandboxes
            yield stage
        except (OSError, http.client.HTTPException, CannotMeasure) as error:
            raise CannotMeasure(f"{error}\n{child.output()}") from None
        finally:
            child.end()
            remove_all(client, owner)


def _round(stage: _Stage, folder: Path, nginx: int, rate: float, seconds: float) -> Round:
    stage.wait_until_asleep()
    file = folder / "samples"
    program = [sys.executable, steady.__file__, str(file), HOST, str(rate)]
    with started([*program, str(stage.port), str(nginx)], folder, name="load") as load:
        time.sleep(_SETTLED)
        calm = time.monotonic()
        time.sleep(seconds)
        busy = time.monotonic()
        waited = stage.wake()
        over = time.monotonic()
        time.sleep(_SETTLED)  # what was late is still to be answered
        load.end()
        try:
            samples = steady.read(file)
        except FileNotFoundError:
            raise CannotMeasure(f"the load ended early: {load.output()}") from None

    def pair(port: int) -> Pair:
        return Pair(
            Latencies.of(samples, port, calm, busy), Latencies.of(samples, port, busy, over)
        )

    return Round(pair(stage.port), pair(nginx), over - busy, waited)
