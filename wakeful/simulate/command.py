"""``wakeful simulate``: from what was asked for to a report."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from wakeful.config.load import Loaded
from wakeful.config.model import Config
from wakeful.config.override import Override
from wakeful.simulate import report, timeline
from wakeful.simulate.engine import simulate, tail
from wakeful.simulate.logs import read_logs
from wakeful.simulate.report import Outcome, Report
from wakeful.simulate.sources import Owners, Remarks, SourceError, shown
from wakeful.simulate.traces import read_trace
from wakeful.simulate.traffic import Recording, ServiceTime, Shape, Traffic

AS_CONFIGURED = "as configured"

# From asked-for to ready, in the median, of a small container on the default bridge; see README.
DEFAULT_START_TIME = 0.4

_MOST_SETTINGS = 32
_LONGEST = 31 * 86400.0


@dataclass(frozen=True, slots=True)
class Source:
    """Where the traffic is from: exactly one of the first three."""

    logs: tuple[Path, ...] = ()
    trace: Path | None = None
    shape: Shape | None = None
    service: str | None = None
    service_time: ServiceTime = ServiceTime(0.1)  # noqa: RUF009 (frozen)


@dataclass(frozen=True, slots=True)
class Setting:
    """What is simulated: a configuration, and how it differs from the file."""

    name: str
    overrides: tuple[Override, ...]
    config: Config


@dataclass(frozen=True, slots=True)
class Gathered:
    """The traffic, and what its source said besides."""

    traffic: Traffic
    remarks: Sequence[str] = ()
    start_times: tuple[float, ...] = ()


def run(
    loaded: Loaded,
    source: Source,
    overrides: Sequence[Override],
    start_times: Sequence[float],
    seed: int,
) -> Report:
    """Simulate the traffic under each setting.

    Raises SourceError, OverrideError, and ValueError for what makes no sense
    together.
    """
    settings = settings_of(loaded, overrides)
    filtered = any(
        service.template.wake.ignore
        for setting in settings
        for service in setting.config.services.values()
    )
    gathered = gather(loaded.config, source, seed, filtered=filtered)
    traffic = gathered.traffic
    if traffic.length > _LONGEST:
        raise SourceError(
            f"the traffic goes on for {traffic.length / 86400:.0f} days; at most "
            f"{_LONGEST / 86400:.0f} are simulated"
        )
    times, origin = _start_times(start_times, gathered.start_times)
    until = traffic.length + max(
        tail([setting.config.services[name] for name in traffic.services]) for setting in settings
    )
    return Report(
        traffic.title,
        times,
        origin,
        gathered.remarks,
        [
            Outcome(
                setting.name,
                {one.path: one.text for one in setting.overrides},
                simulate(setting.config, traffic, times, until=until, seed=seed),
            )
            for setting in settings
        ],
    )


def write(made: Report, json_file: str | None, svg_file: Path | None) -> str:
    """What is for standard output. Raises OSError."""
    if svg_file is not None:
        svg_file.write_text(timeline.draw(made), encoding="utf-8")
    if json_file is None:
        return report.text(made)
    document = json.dumps(report.as_json(made), indent=1) + "\n"
    if json_file == "-":
        return document
    Path(json_file).write_text(document, encoding="utf-8")
    return report.text(made)


def settings_of(loaded: Loaded, overrides: Sequence[Override]) -> list[Setting]:
    """The file as it is, and every combination of what was set.

    A path that was set several times has so many alternatives.
    """
    alternatives: dict[str, list[Override]] = {}
    for override in overrides:
        alternatives.setdefault(override.path, []).append(override)
    if math.prod(map(len, alternatives.values())) > _MOST_SETTINGS:
        raise ValueError(f"more than {_MOST_SETTINGS} combinations of what is set")
    settings = [Setting(AS_CONFIGURED, (), loaded.config)]
    for chosen in product(*alternatives.values()) if alternatives else ():
        name = ", ".join(str(one).removeprefix("services.") for one in chosen)
        settings.append(Setting(name, chosen, loaded.overridden(chosen).config))
    return settings


def gather(config: Config, source: Source, seed: int, *, filtered: bool) -> Gathered:
    if source.service is not None and source.service not in config.services:
        raise ValueError(f"there is no service {source.service!r}")
    if source.shape is not None:
        services = [source.service] if source.service is not None else list(config.services)
        return Gathered(source.shape.for_each(services))
    owners = Owners(config, source.service)
    if source.trace is not None:
        trace = read_trace(source.trace, owners, seed)
        return _recorded(trace.requests, trace.remarks, shown(source.trace), source, seed)
    log = read_logs(source.logs, owners, filtered=filtered)
    names = ", ".join(map(shown, source.logs))
    return _recorded(log.requests, log.remarks, names, source, seed, log.start_times)


def _recorded(
    requests: Recording,
    remarks: Remarks,
    names: str,
    source: Source,
    seed: int,
    start_times: tuple[float, ...] = (),
) -> Gathered:
    said = remarks.texts()
    if not requests:
        raise SourceError("\n".join([f"{names}: no requests for any service", *said]))
    title = f"{len(requests):,} request{'' if len(requests) == 1 else 's'} of {names}"
    traffic = requests.traffic(title, source.service_time, seed)
    return Gathered(traffic, said, start_times)


def _start_times(given: Sequence[float], seen: Sequence[float]) -> tuple[Sequence[float], str]:
    if given:
        return given, "as given"
    if seen:
        return seen, f"of {len(seen)} cold start{'' if len(seen) == 1 else 's'} in the log"
    return (DEFAULT_START_TIME,), "assumed, as of a small container; --start-time says otherwise"
