"""python -m benchmarks: what can be measured, and how to."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

import click

from benchmarks import chaos, coldstart, cycles, freeze, neighbours, proxy, scale
from benchmarks.children import CannotMeasure


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Programs that measure wakeful, and hold it against others."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@main.command("replay", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def replay(context: click.Context, arguments: Sequence[str]) -> None:
    """Recorded traces of Knative's autoscaler against ours."""
    from benchmarks import replay_knative

    context.exit(replay_knative.main(list(arguments)))


main.add_command(proxy.command)
main.add_command(coldstart.command)
main.add_command(freeze.command)
main.add_command(scale.command)
main.add_command(cycles.command)
main.add_command(neighbours.command)
main.add_command(chaos.command)


def _terminated(*_: object) -> None:
    sys.exit(128 + signal.SIGTERM)  # as an exception, so that everything started is ended


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminated)
    try:
        main(prog_name="python -m benchmarks")
    except CannotMeasure as error:
        click.echo(f"Cannot measure: {error}", err=True)
        sys.exit(1)
