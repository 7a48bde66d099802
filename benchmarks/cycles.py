"""What waking and sleeping leaves behind: services woken and let go to zero, over and over.

All services are woken at once, and when all are at zero again it is counted what there is:
containers, threads, descriptors, namespaces, memory. The first rounds fill pools and
caches; what is held after them is what may be held at the end. They are many, for the sake of
memory: CPython keeps up to 2,000 freed tuples of each length, and those fill up slowly.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from benchmarks import held, machine
from benchmarks.children import CannotMeasure, Child, free_port, started
from benchmarks.coldstart import wait_until_ready
from benchmarks.cycled import KINDS, SANDBOX, Cycled, cycled, remove_all
from benchmarks.held import EngineHoldings
from benchmarks.leaks import MEMORY, Held, Line, judge, most_before
from benchmarks.peers import run_wakeful
from benchmarks.table import number, table
from wakeful.runtime.sandbox_stock import MOST

_PATIENCE = 120.0
_LOOK = 0.5  # seconds between two looks whether all are at rest
_SETTLES = 20.0  # what is on its way out at the end has so long
_BETWEEN = 0.3  # two requests, for what is frozen in between
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_ACTIONS = {
    "wakeful_instance_starts_total": "started",
    "wakeful_instance_freezes_total": "frozen",
    "wakeful_instance_thaws_total": "thawed",
}


@dataclass(frozen=True, slots=True)
class Report:
    machine: machine.Machine
    runtime: str
    owner: str  # as its containers said
    kinds: dict[str, int]  # of services
    warm_up: int  # cycles before it was counted for the first time
    samples: Sequence[Held]
    did: dict[str, int]  # instances started, frozen and thawed in the cycles that count
    lines: Sequence[Line]
    seconds: float

    @property
    def cycles(self) -> int:
        return self.samples[-1].cycles

    @property
    def leaked(self) -> list[str]:
        return [line.name for line in self.lines if line.leaked]

    def as_json(self) -> dict[str, object]:
        return {
            "benchmark": "cycles",
            "machine": self.machine.as_json(),
            "runtime": self.runtime,
            "owner": self.owner,
            "services": self.kinds,
            "warm_up": self.warm_up,
            "cycles": self.cycles,
            "seconds": self.seconds,
            "instances": self.did,
            "lines": [asdict(line) | {"leaked": line.leaked} for line in self.lines],
            "leaked": self.leaked,
            "memory": [(each.cycles, each.memory) for each in self.samples],
        }

    def __str__(self) -> str:
        rows = [
            (
                line.name,
                *(number(value, _digits(line)) for value in (line.first, line.before, line.after)),
                number(line.per_thousand, _digits(line)),
                "LEAKED" if line.leaked else "" if line.judged else "not judged",
            )
            for line in self.lines
        ]
        services = ", ".join(f"{count} {kind}" for kind, count in self.kinds.items())
        instances = ", ".join(f"{count} {action}" for action, count in self.did.items())
        return "\n".join(
            [
                str(self.machine),
                f"runtime {self.runtime}; services: {services}",
                f"{self.cycles} cycles of waking and sleeping after {self.warm_up} to warm up, "
                f"in {self.seconds:.0f} s; instances: {instances}",
                "",
                table(("at rest", "first", "most until half", "last", "in 1,000 cycles", ""), rows),
                "",
                f"Leaked: {', '.join(self.leaked)}" if self.leaked else "Nothing leaked.",
            ]
        )


@click.command("cycles")
@click.option("--runtime", type=click.Choice(list(KINDS)), default="docker", show_default=True)
@click.option("--cycles", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--warm-up", type=click.IntRange(1), default=1000, show_default=True, help="Cycles.")
@click.option("--services", type=click.IntRange(1), default=20, show_default=True)
@click.option(
    "--shared", is_flag=True, help="Others use this host's engine: what is theirs is not judged."
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
@click.pass_context
def command(
    context: click.Context,
    runtime: str,
    cycles: int,
    warm_up: int,
    services: int,
    shared: bool,
    json_file: Path | None,
) -> None:
    """Services woken and put to sleep over and over: what is leaked; exit code 1 if anything."""
    with cycled(runtime, services) as subject:
        report = measure(runtime, subject, cycles, warm_up, held.OTHERS if shared else ())
    click.echo(str(report))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if report.leaked:
        context.exit(1)


def measure(
    runtime: str, subject: Cycled, cycles: int, warm_up: int, others: Collection[str] = ()
) -> Report:
    """Raises CannotMeasure."""
    host = machine.describe()
    with tempfile.TemporaryDirectory(prefix="wakeful-bench-") as name:
        folder, port, admin = Path(name), free_port(), free_port()
        more = {"admin": f"127.0.0.1:{admin}"}
        services = subject.definitions
        run = run_wakeful(sys.executable, folder, port, services, runtime, more=more)
        with started(run, folder, name="wakeful") as child:
            wait_until_ready(child, port)
            owner = json.loads((folder / "state" / "state.json").read_text())["owner"]
            try:
                rounds = _Rounds(subject, child, folder / "state", owner, port, admin)
                return _measured(host, runtime, subject, rounds, cycles, warm_up, others)
            except (OSError, http.client.HTTPException, CannotMeasure) as error:
                raise CannotMeasure(f"{error}\n{child.output()}") from None
            finally:
                if subject.client is not None:
                    child.end()
                    remove_all(subject.client, owner)


def _measured(
    host: machine.Machine,
    runtime: str,
    subject: Cycled,
    rounds: _Rounds,
    cycles: int,
    warm_up: int,
    others: Collection[str],
) -> Report:
    each = len(subject.services)
    for _ in range(-(-warm_up // each)):
        rounds.turn()
    began, acts = time.monotonic(), rounds.acts()
    samples = [rounds.held(0)]
    for done in range(1, -(-cycles // each) + 1):
        rounds.turn()
        samples.append(rounds.held(done * each))
    samples[-1] = rounds.settled(most_before(samples), samples[-1])
    return Report(
        host,
        runtime,
        rounds.owner,
        {kind.name: subject.number(kind) for kind in KINDS[runtime]},
        -(-warm_up // each) * each,
        samples,
        {action: count - acts[action] for action, count in rounds.acts().items()},
        judge(samples, others),
        time.monotonic() - began,
    )


class _Rounds:
    """One wakeful, whose services are woken together and fall asleep together."""

    def __init__(
        self, subject: Cycled, child: Child, state: Path, owner: str, port: int, admin: int
    ) -> None:
        self.owner = owner
        self._subject = subject
        self._child = child
        self._state = state
        self._port = port
        self._admin = admin
        self._frozen = sum(kind.rests_frozen for kind in subject.services.values())
        self._engine = EngineHoldings(subject.client, owner) if subject.client else None
        self._stock = 0  # of network sandboxes, at rest
        if subject.number(SANDBOX):
            self._stock = 1
            self._wait(self._stocked, "stocked")  # the first ones are to find one too
            self._stock = min(subject.number(SANDBOX), MOST)

    def turn(self) -> None:
        """Wake all of them, use them, and wait until all are at zero."""
        with ThreadPoolExecutor(len(self._subject.services)) as clients:
            list(clients.map(self._use, self._subject.services))
        if self._engine is not None:
            self._engine.look_around()
        self._wait(lambda: self._asleep() and self._stocked(), "at rest")

    def acts(self) -> dict[str, int]:
        """How often instances were started, frozen and thawed so far."""
        counts = dict.fromkeys(_ACTIONS.values(), 0)
        for name, _, value in self._metrics():
            if name in _ACTIONS:
                counts[_ACTIONS[name]] += int(float(value))
        return counts

    def held(self, cycles: int) -> Held:
        """What there is, once it is twice the same."""
        counts = self._counts()
        for _ in range(10):
            time.sleep(_LOOK)
            before, counts = counts, self._counts()
            if counts == before:
                break
        return Held(cycles, counts, held.memory(self._child.process.pid))

    def settled(self, before: Mapping[str, int], last: Held) -> Held:
        """The last, or what is left of it a while later."""
        deadline = time.monotonic() + _SETTLES
        while time.monotonic() < deadline and any(
            count > before[name] for name, count in last.counts.items()
        ):
            last = self.held(last.cycles)
        return last

    def _use(self, service: str) -> None:
        for _ in range(2):
            status, body = _ask(self._port, "/", f"{service}.localhost")
            if status != 200:
                raise CannotMeasure(f"{service} was answered with {status}: {body}")
            time.sleep(_BETWEEN)

    def _counts(self) -> dict[str, int]:
        counts = held.by_process(self._child.process.pid, self._state)
        counts["lines of its metrics"] = len(self._metrics())
        return counts if self._engine is None else self._engine.counts() | counts

    def _asleep(self) -> bool:
        """All are at zero, and what was stopped is gone."""
        there = 0
        for name, labels, value in self._metrics():
            if name == "kn_revision_pods_count" and float(value):
                return False
            if name == "wakeful_instances":
                if float(value) and 'state="frozen"' not in labels:
                    return False
                there += int(float(value))
        return there == self._frozen

    def _stocked(self) -> bool:
        return self._engine is None or self._engine.sandboxes() >= self._stock

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            if not self._child.alive or time.monotonic() > deadline:
                raise CannotMeasure(f"wakeful was not {what} in time")
            time.sleep(_LOOK)

    def _metrics(self) -> list[tuple[str, str, str]]:
        status, text = _ask(self._admin, "/metrics", "localhost")
        if status != 200:
            raise CannotMeasure(f"/metrics was answered with {status}")
        return _SAMPLE.findall(text)


def _ask(port: int, path: str, host: str) -> tuple[int, str]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    try:
        client.request("GET", path, headers={"Host": host, "Connection": "close"})
        response = client.getresponse()
        return response.status, response.read().decode()
    finally:
        client.close()


def _digits(line: Line) -> int:
    return 2 if line.name == MEMORY else 0
