"""Everything goes wrong at once, for real, and every request is accounted for.

A Docker engine and a wakeful of its own, in namespaces of their own, under a
mixed load, while containers are killed, removed and paused, the engine and
wakeful are killed and restarted, revisions deployed, and queues filled.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from benchmarks import chaos_namespaces

_QUICK, _QUICK_APART = 25.0, 1.6


@click.command("chaos")
@click.option("--seed", type=int, default=1, show_default=True, help="Of what is done, and when.")
@click.option(
    "--seconds",
    type=click.FloatRange(20),
    default=240.0,
    show_default=True,
    help="In which it is done; each kind once at least.",
)
@click.option("--quick", is_flag=True, help=f"{_QUICK:g} seconds, each kind once.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    help="Leave there what clients and instances wrote down, and the logs.",
)
def command(seed: int, seconds: float, quick: bool, keep: Path | None) -> None:
    """Kill, pause and restart everything under load, and count what was lost: nothing."""
    if quick:
        seconds = _QUICK
    apart = _QUICK_APART if quick else 4.0
    more = [str(keep)] if keep is not None else []
    sys.exit(chaos_namespaces.run_inside([str(seed), str(seconds), str(apart), *more]))
