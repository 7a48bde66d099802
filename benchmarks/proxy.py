"""What proxying costs: wakeful against the proxies found on this machine, as a command."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from benchmarks import as_installed, idle, proxy_chart
from benchmarks.children import CannotMeasure
from benchmarks.peers import COMPILED, PEERS, PROGRAMS
from benchmarks.proxy_bench import PARTS, measure
from benchmarks.proxy_report import Settings


@click.command("proxy")
@click.option("--connections", type=click.IntRange(1), default=32, show_default=True)
@click.option("--seconds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--size", type=click.IntRange(0), default=100, help="Bytes of a small answer's body.")
@click.option("--idle", "idlers", type=click.IntRange(1), help="Idle connections to hold.")
@click.option("--only", metavar="PARTS", help=f"Of {','.join(PARTS)}; all if not given.")
@click.option("--peers", help="Names, with commas; all that are found if not given.")
@click.option("--binary", "binaries", multiple=True, metavar="NAME=PATH", help="Where a peer is.")
@click.option("--pin/--no-pin", default=True, help="Keep the proxy on one core, the rest off it.")
@click.option("--quick", is_flag=True, help="One round of one second: that it works, not how well.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write figures there.")
@click.option("--svg", type=click.Path(path_type=Path), help="Draw CPU per small request there.")
def command(
    connections: int,
    seconds: int,
    rounds: int,
    size: int,
    idlers: int | None,
    only: str | None,
    peers: str | None,
    binaries: Sequence[str],
    pin: bool,
    quick: bool,
    json_file: Path | None,
    svg: Path | None,
) -> None:
    """CPU, latency and memory of wakeful against other proxies.

    wakeful is measured from source, and as pip installs it where there is a C compiler.
    """
    parts = choose_parts(only)
    if svg is not None and "small" not in parts:
        raise click.UsageError("--svg draws small requests: measure them")
    programs = choose(peers, binaries)
    if svg is not None and "nginx" not in programs:
        raise click.UsageError("--svg draws what compares to nginx: measure it")
    settings = Settings(connections, seconds, rounds, size, pin, idle=idlers or idle.possible())
    if quick:
        settings = Settings(connections, 1, 1, size, pin, warm_up=0, idle=idlers or 200)
    with ExitStack() as stack:
        if not quick and os.environ.get("WAKEFUL_COMPILE") != "0":
            programs = with_compiled(programs, stack)
        report = measure(programs, settings, parts)
    click.echo(str(report))
    if json_file is not None:
        json_file.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if svg is not None and "nginx" in report.small:
        svg.write_text(proxy_chart.draw(report))
    if report.failed:
        raise CannotMeasure(f"{', '.join(report.failed)}: see above")


def with_compiled(programs: Mapping[str, str], stack: ExitStack) -> dict[str, str]:
    """Another wakeful behind the one that runs from source, for as long as the stack is open."""
    chosen = {}
    for name, program in programs.items():
        chosen[name] = program
        if name == COMPILED.family and COMPILED.name not in programs:
            click.echo("compiling wakeful, as pip install does ...", err=True)
            try:
                chosen[COMPILED.name] = stack.enter_context(as_installed.compiled())
            except CannotMeasure as error:
                click.echo(str(error), err=True)
    return chosen


def choose_parts(names: str | None) -> Collection[str]:
    parts = list(PARTS) if names is None else [name.strip() for name in names.split(",")]
    for name in parts:
        if name not in PARTS:
            known = "; ".join(f"{part}, {what}" for part, what in PARTS.items())
            raise click.UsageError(f"no part is called {name}: there are {known}")
    return parts


def choose(names: str | None, binaries: Sequence[str]) -> dict[str, str]:
    """The peers to measure and their programs; those asked for by name must be there."""
    given = {}
    for pair in binaries:
        name, equals, path = pair.partition("=")
        if name not in PROGRAMS or not equals:
            known = "; ".join(PROGRAMS)
            raise click.UsageError(f"--binary {pair}: NAME=PATH, NAME one of {known}")
        # Links are not followed: a virtual environment's Python is one, out of it.
        given[name] = str(Path(path).absolute())
    asked = list(PEERS) if names is None else [name.strip() for name in names.split(",")]
    programs = {}
    for name in asked:
        if name not in PEERS:
            raise click.UsageError(f"no peer is called {name}: there are {', '.join(PEERS)}")
        program = given.get(name) or PEERS[name].find()
        if program is not None:
            programs[name] = program
            if name == COMPILED.family and COMPILED.name in given:
                programs[COMPILED.name] = given[COMPILED.name]
        elif names is not None:
            raise CannotMeasure(f"{name} is not installed (or say --binary {name}=PATH)")
        else:
            click.echo(f"{name} not found: install it, or say --binary {name}=PATH", err=True)
    return programs
