"""The command line. Exit codes: 0 fine, 1 a failed start or an invalid file, 2 usage."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from wakeful import __version__

if TYPE_CHECKING:
    from wakeful.config.load import ConfigError
    from wakeful.config.model import HostPort

_CONFIG = click.option(
    "-c",
    "--config",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The configuration file; else $WAKEFUL_CONFIG, ./wakeful.yaml, the XDG directory, "
    "/etc/wakeful.",
)

_ADMIN = click.option(
    "--admin",
    metavar="[HOST]:PORT",
    envvar="WAKEFUL_ADMIN",
    show_envvar=True,
    help="Where to ask, in place of the file's admin.",
)


def _version() -> str:
    """With a word when the path of a request is compiled (docs/decisions/0006)."""
    spec = find_spec("wakeful.proxy.exchange")
    compiled = spec is not None and isinstance(spec.loader, ExtensionFileLoader)
    return f"{__version__} (compiled)" if compiled else __version__


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(_version(), message="wakeful %(version)s")
@click.option("-t", "test", is_flag=True, help="Same as the command validate.")
@_CONFIG
@click.pass_context
def main(context: click.Context, test: bool, config: Path | None) -> None:
    """Serverless containers on one Docker host."""
    if context.invoked_subcommand is not None:
        if test or config is not None:
            raise click.UsageError("-t and -c have no meaning before a command; put -c after it")
    elif test:
        _validate(config)
    else:
        click.echo(context.get_help())
        context.exit(2)


@main.command()
@_CONFIG
@click.option(
    "--listen",
    metavar="[HOST]:PORT",
    envvar="WAKEFUL_LISTEN",
    show_envvar=True,
    help="Overrides the file's listen.",
)
@click.option(
    "--admin",
    metavar="[HOST]:PORT",
    envvar="WAKEFUL_ADMIN",
    show_envvar=True,
    help="Overrides the file's admin.",
)
@click.option(
    "--leave-instances",
    is_flag=True,
    help="At the end, leave instances running; the next start takes them over.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "text", "json"]),
    default="auto",
    envvar="WAKEFUL_LOG_FORMAT",
    show_default=True,
    help="auto: text on a terminal, else json.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    envvar="WAKEFUL_LOG_LEVEL",
    show_default=True,
)
def run(
    config: Path | None,
    listen: str | None,
    admin: str | None,
    leave_instances: bool,
    log_format: str,
    log_level: str,
) -> None:
    """Serve until SIGTERM or SIGINT. SIGHUP reads the file again."""
    from wakeful import logs
    from wakeful.config.load import ConfigError, find, load
    from wakeful.serve import Overrides, serve

    logs.configure(log_format, log_level)
    try:
        path = find(_chosen(config))
        overrides = Overrides.parse(listen, admin)
        sys.exit(serve(path, load(path), overrides, leave_instances=leave_instances))
    except ConfigError as error:
        _refuse(error)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@main.command()
@_CONFIG
def validate(config: Path | None) -> None:
    """Check a configuration file and say everything that is wrong with it."""
    _validate(config)


@main.command()
@click.argument("service", required=False)
@_CONFIG
@_ADMIN
@click.option("--json", "as_json", is_flag=True, help="What the admin API says, as it is.")
def ps(service: str | None, config: Path | None, admin: str | None, as_json: bool) -> None:
    """List the instances that there are, of one service or of all."""
    import json
    from datetime import datetime
    from urllib.parse import urlencode

    from wakeful.ask import Unanswered, ask
    from wakeful.ps import table

    query = f"?{urlencode({'service': service})}" if service else ""
    try:
        answer = ask(_admin_address(config, admin), f"/v1/instances{query}")
    except Unanswered as error:
        click.echo(f"wakeful: {error}", err=True)
        sys.exit(1)
    click.echo(json.dumps(answer, indent=1) if as_json else table(answer, datetime.now()))


@main.command()
@click.argument("service")
@_CONFIG
@_ADMIN
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with what comes, also from new instances."
)
@click.option(
    "-n",
    "--tail",
    type=click.IntRange(0),
    metavar="N",
    help="The last N lines of each instance.  [default: all]",
)
@click.option(
    "--since",
    metavar="TIME",
    help="What is not older than a duration, as 10m, or than a moment, as 2026-01-31T12:00:00Z.",
)
@click.option(
    "--instance",
    metavar="ID",
    help="Of this instance alone, and without its name; the end of its id will do.",
)
@click.option("-t", "--timestamps", is_flag=True, help="Show when each line was written.")
@click.option("--no-prefix", is_flag=True, help="Do not show whose line it is.")
def logs(
    service: str,
    config: Path | None,
    admin: str | None,
    follow: bool,
    tail: int | None,
    since: str | None,
    instance: str | None,
    timestamps: bool,
    no_prefix: bool,
) -> None:
    """Show what the instances of a service have written, the oldest instance first."""
    import time

    from wakeful.ask import Unanswered
    from wakeful.show_logs import moment, show

    try:
        code = show(
            _admin_address(config, admin),
            service,
            follow=follow,
            tail=tail,
            since=None if since is None else moment(since, time.time()),
            instance=instance,
            times=timestamps,
            prefix=not no_prefix,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    except Unanswered as error:
        click.echo(f"wakeful: {error}", err=True)
        code = 1
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


@main.command()
@click.option("--once", is_flag=True, help="Cold, warm, a burst and back to zero; then exit.")
@click.option(
    "--runtime",
    type=click.Choice(["auto", "docker", "process"]),
    default="auto",
    show_default=True,
    help="auto: containers when Docker answers.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=8080,
    show_default=True,
    help="Where to listen; the next free port if it is taken.",
)
def demo(once: bool, runtime: str, port: int) -> None:
    """Three services to try wakeful with; needs no configuration."""
    from wakeful.demo.run import run_demo

    sys.exit(run_demo(once=once, runtime=runtime, port=port))


@main.command()
@_CONFIG
@click.option(
    "--log",
    "logs",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    multiple=True,
    metavar="FILE",
    help="Traffic of an access log: wakeful's JSON, common or combined; gzipped too; - is "
    "standard input. May be repeated.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, dir_okay=False, allow_dash=True),
    metavar="CSV",
    help="Traffic of a trace: time[,service][,duration], minute,count[,service], or the Azure "
    "Functions invocations per minute.",
)
@click.option(
    "--shape",
    type=click.Choice(["step", "ramp", "spike", "sine", "poisson"]),
    help="Made-up traffic, for every service or the one that --service names.",
)
@click.option("--rate", type=click.FloatRange(0), metavar="N", help="Requests/s.  [default: 10]")
@click.option(
    "--peak",
    type=click.FloatRange(0),
    metavar="N",
    help="Requests/s at the top of the shape, from --rate below. Without it a spike is ten times "
    "--rate, and the others go from 0 to --rate.",
)
@click.option("--duration", metavar="TIME", help="Of the shape.  [default: 10m]")
@click.option(
    "--service-time",
    metavar="TIME",
    help="How long a request takes where the traffic does not say it; exponential:TIME is "
    "random with that mean.  [default: 100ms]",
)
@click.option("--service", metavar="NAME", help="Whose the traffic is that names no service.")
@click.option(
    "--start-time",
    metavar="TIME[,TIME]",
    help="Until an instance is ready; of several each start draws one.  [default: as the log "
    "shows, else 400ms]",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="PATH=VALUE",
    help="Beside the file as it is, simulate it with this changed, as in "
    "services.hello.scale.window=30s. Repeated: with all of it changed; the same path again: "
    "with each of its values.",
)
@click.option("--seed", type=int, default=1, show_default=True, help="Of all that is random.")
@click.option(
    "--json", "json_file", metavar="FILE", help="Write the figures; - is standard output."
)
@click.option(
    "--svg",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Draw demand, queue, desired and ready instances over time.",
)
def simulate(
    config: Path | None,
    logs: tuple[Path, ...],
    trace: Path | None,
    shape: str | None,
    rate: float | None,
    peak: float | None,
    duration: str | None,
    service_time: str | None,
    service: str | None,
    start_time: str | None,
    changes: tuple[str, ...],
    seed: int,
    json_file: str | None,
    svg: Path | None,
) -> None:
    """Try settings on traffic, recorded or made up, without starting anything.

    The same autoscaler and queues as in `wakeful run`, under a clock of their own.
    """
    from wakeful.config.load import ConfigError, OverrideError, find, load
    from wakeful.simulate.command import run, write
    from wakeful.simulate.options import overrides_of, source_of, start_times_of
    from wakeful.simulate.sources import SourceError

    try:
        source = source_of(logs, trace, shape, service, rate, peak, duration, service_time, seed)
        report = run(
            load(find(_chosen(config))),
            source,
            overrides_of(changes),
            start_times_of(start_time),
            seed,
        )
        click.echo(write(report, json_file, svg), nl=False)
    except ConfigError as error:
        _refuse(error)
    except (OverrideError, SourceError) as error:
        click.echo(str(error), err=True)
        sys.exit(1)
    except OSError as error:
        click.echo(f"{error.filename}: {error.strerror}", err=True)
        sys.exit(1)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@main.command()
def version() -> None:
    """Print the version."""
    click.echo(f"wakeful {_version()}")


def _validate(config: Path | None) -> None:
    from wakeful.config.load import ConfigError, find, load

    try:
        path = find(_chosen(config))
        services = load(path).config.services
    except ConfigError as error:
        _refuse(error)
    click.echo(f"{path}: OK ({len(services)} service{'' if len(services) == 1 else 's'})")


def _admin_address(config: Path | None, admin: str | None) -> HostPort:
    """Where the admin listener is, by the command line or by the file."""
    from wakeful.config.load import ConfigError, find, load
    from wakeful.config.quantity import host_port

    try:
        return host_port(admin) if admin else load(find(_chosen(config))).config.admin
    except ConfigError as error:
        _refuse(error)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _chosen(config: Path | None) -> Path | None:
    if config is None and (named := os.environ.get("WAKEFUL_CONFIG")):
        return Path(named)
    return config


def _refuse(error: ConfigError) -> NoReturn:
    click.echo(error.explain() if sys.stderr.isatty() else str(error), err=True)
    count = len(error.problems)
    click.echo(f"{error.file}: {count} error{'' if count == 1 else 's'}", err=True)
    sys.exit(1)
