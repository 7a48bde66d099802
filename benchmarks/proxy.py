"""What a proxied request costs: wakeful against the proxies found on this machine.

All of them run at once and are loaded in turn, round after round, so that
whatever else the machine does meets every one of them.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks import backend, load, machine
from benchmarks.children import CannotMeasure, Child, free_port, started
from benchmarks.peers import HOST, PEERS, Peer, Place
from benchmarks.proxy_report import Figures, Report, Round, Settings

DIRECT = "(no proxy)"  # the load generator straight to the backend: the ceiling
_READY_TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class Target:
    """What is loaded in turn."""

    port: int
    child: Child | None  # whose CPU is counted
    figures: Figures


@click.command("proxy")
@click.option("--connections", type=click.IntRange(1), default=32, show_default=True)
@click.option("--seconds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--size", type=click.IntRange(0), default=100, help="Bytes of a response's body.")
@click.option("--peers", help="Names, with commas; all that are found if not given.")
@click.option("--binary", "binaries", multiple=True, metavar="NAME=PATH", help="Where a peer is.")
@click.option("--pin/--no-pin", default=True, help="Keep the proxy on one core, the rest off it.")
@click.option("--quick", is_flag=True, help="One round of one second: that it works, not how well.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
def command(
    connections: int,
    seconds: int,
    rounds: int,
    size: int,
    peers: str | None,
    binaries: Sequence[str],
    pin: bool,
    quick: bool,
    json_file: Path | None,
) -> None:
    """Requests per second and CPU per request, wakeful against other proxies."""
    programs = choose(peers, binaries)
    settings = Settings(connections, seconds, rounds, size, pin)
    if quick:
        settings = Settings(connections, 1, 1, size, pin, warm_up=0)
    report = measure(programs, settings)
    click.echo(str(report))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if report.failed:
        raise CannotMeasure(f"{', '.join(report.failed)}: see above")


def choose(names: str | None, binaries: Sequence[str]) -> dict[str, str]:
    """The peers to measure and their programs; those asked for by name must be there."""
    given = {}
    for pair in binaries:
        name, equals, path = pair.partition("=")
        if name not in PEERS or not equals:
            raise click.UsageError(f"--binary {pair}: NAME=PATH, NAME one of {', '.join(PEERS)}")
        given[name] = str(Path(path).resolve())
    asked = list(PEERS) if names is None else [name.strip() for name in names.split(",")]
    programs = {}
    for name in asked:
        if name not in PEERS:
            raise click.UsageError(f"no peer is called {name}: there are {', '.join(PEERS)}")
        program = given.get(name) or PEERS[name].find()
        if program is not None:
            programs[name] = program
        elif names is not None:
            raise CannotMeasure(f"{name} is not installed (or say --binary {name}=PATH)")
        else:
            click.echo(f"{name} not found: install it, or say --binary {name}=PATH", err=True)
    return programs


def measure(programs: Mapping[str, str], settings: Settings) -> Report:
    """Start everything, load each in turn, end everything."""
    if not Path("/proc/self/stat").exists():
        raise CannotMeasure("CPU time is read from /proc: this needs Linux")
    host = machine.describe()
    cores = proxy_core, other_core = _cores(settings.pin)
    generator = load.generator(other_core)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wakeful-bench-")))
        behind = free_port()
        backend_name, backend_command = backend.command(folder, behind, settings.size)
        server = stack.enter_context(
            started(backend_command, folder, name="backend", core=other_core)
        )
        _wait_until_it_answers(server, "the backend", behind, settings.size)
        report = Report(host, settings, cores, generator.name, backend_name)
        targets = {DIRECT: Target(behind, None, Figures(backend_name))}
        for name, program in programs.items():
            place = Place(folder / name, free_port(), behind, settings.connections)
            try:
                child = _start(stack, PEERS[name], program, place, settings.size, proxy_core)
            except CannotMeasure as error:
                report.failed[name] = str(error)
            else:
                targets[name] = Target(place.port, child, Figures(PEERS[name].version(program)))
        if not targets.keys() & programs.keys():
            raise CannotMeasure("\n".join(report.failed.values()) or "there is no proxy to measure")
        report.peers = {name: target.figures for name, target in targets.items()}
        if settings.warm_up:
            for target in targets.values():
                generator.run(target.port, HOST, settings.connections, settings.warm_up)
        for _ in range(settings.rounds):
            for target in targets.values():
                target.figures.rounds.append(_round(target, generator, settings))
    return report


def _cores(pin: bool) -> tuple[int | None, int | None]:
    """The core for the proxies, and the one for everything else."""
    cores = sorted(os.sched_getaffinity(0))
    if not pin or len(cores) < 2 or shutil.which("taskset") is None:
        return None, None
    return cores[0], cores[1]


def _start(
    stack: ExitStack, peer: Peer, program: str, place: Place, size: int, core: int | None
) -> Child:
    place.folder.mkdir()
    # Whatever it would keep in a home directory belongs to this run.
    home = {name: str(place.folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    child = stack.enter_context(
        started(
            peer.configure(program, place),
            place.folder,
            name=peer.name,
            env={**home, **peer.env},
            core=core,
        )
    )
    _wait_until_it_answers(child, peer.name, place.port, size)
    return child


def _wait_until_it_answers(child: Child, name: str, port: int, size: int) -> None:
    deadline = time.monotonic() + _READY_TIMEOUT
    seen: object = "nothing"
    while time.monotonic() < deadline and child.alive:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            client.request("GET", "/", headers={"Host": HOST})
            response = client.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            seen = error
        else:
            if response.status == 200 and len(body) == size:
                return
            seen = f"status {response.status} with {len(body)} bytes"
        finally:
            client.close()
        time.sleep(0.05)
    raise CannotMeasure(f"{name} does not answer as it should: {seen}\n{child.output()}")


def _round(target: Target, generator: load.Generator, settings: Settings) -> Round:
    before = None if target.child is None else target.child.cpu()
    seen = generator.run(target.port, HOST, settings.connections, settings.seconds)
    if seen.requests == 0:
        raise CannotMeasure("a proxy answered nothing under load")
    cpu = rss = None
    if target.child is not None and before is not None:
        cpu = (target.child.cpu() - before) / seen.requests * 1e6
        rss = target.child.rss() / 1e6
    return Round(
        requests=seen.requests,
        rps=seen.requests / seen.seconds,
        cpu_us=cpu,
        p50_ms=seen.p50_ms,
        p99_ms=seen.p99_ms,
        rss_mb=rss,
        errors=seen.errors,
    )
