"""Which keys a configuration file has, and how the value of each is read.

A table per mapping: key to reader. How the text of one value is read is in ``quantity``,
``container``, ``waking`` and ``values``; rules between keys are in ``parse``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from wakeful.config import container, misspelt, quantity, values, waking
from wakeful.config.model import (
    AccessLogFormat,
    Aggregation,
    FreezerKind,
    Logging,
    Metric,
    Pull,
    Reach,
    RuntimeKind,
    TrafficTarget,
    Ulimit,
    WakeFilter,
    WarmWindow,
)
from wakeful.config.nodes import Node, Scalar, child
from wakeful.config.readers import (
    Reader,
    above,
    choice,
    mapping,
    one_or_more,
    pairs,
    percentage,
    raw,
    scalar,
    sequence,
    switch,
    whole_seconds,
    within,
)
from wakeful.config.report import Refused, Report

Section: TypeAlias = Mapping[str, Reader]


@dataclass(slots=True)
class Given:
    """What one mapping of the file says: sound values by attribute name."""

    values: dict[str, Any] = field(default_factory=dict)
    keys: frozenset[str] = frozenset()  # everything it says, sound or not


def read(node: Node, path: str, report: Report, section: Section) -> Given:
    """Every key of a mapping, with all that is wrong reported."""
    entries = mapping(node, path, report).entries
    given = Given(keys=frozenset(entries))
    for key, entry in entries.items():
        here = child(path, key)
        reader = section.get(key)
        if reader is None:
            if path or not key.startswith("x-"):
                report.refuse(entry.key, here, unknown_key(key, _name(section)))
            continue
        with suppress(Refused):
            given.values[key.replace("-", "_")] = reader(entry.value, here, report)
    return given


# Readers


def section(keys: Section) -> Reader:
    return lambda node, path, report: read(node, path, report, keys)


def record(make: Callable[..., Any], keys: Section) -> Reader:
    """A mapping as a value of the model; refused when any of it is."""

    def read_record(node: Node, path: str, report: Report) -> Any:
        given = read(node, path, report, keys)
        if len(given.values) < len(given.keys):
            raise Refused
        return make(**given.values)

    return read_record


def command(node: Node, path: str, report: Report) -> tuple[str, ...]:
    """A list of words, or one text that is split as a shell would."""
    words: tuple[str, ...]
    if isinstance(node, Scalar):
        words = scalar(values.words)(node, path, report)
    else:
        words = sequence(raw, "words")(node, path, report)
    if not words or not words[0]:
        raise report.refuse(node, path, "the command is empty")
    return words


def logging(node: Node, path: str, report: Report) -> Logging:
    """A driver and its options; those of the usual one keep their bounds unless they are given."""
    given = read(node, path, report, LOGGING).values
    usual = Logging()
    driver = given.get("driver", usual.driver)
    options = dict(usual.options) if driver == usual.driver else {}
    options.update(given.get("options", {}))
    return Logging(driver, tuple(sorted(options.items())))


def ulimit(node: Node, path: str, report: Report) -> Ulimit:
    """One number for both, or a mapping of soft and hard."""
    if isinstance(node, Scalar) and not node.empty:
        both = scalar(container.limit)(node, path, report)
        return Ulimit(both, both)
    given = read(node, path, report, ULIMIT)
    missing = ULIMIT.keys() - given.keys
    if missing:
        raise report.refuse(node, path, f"{' and '.join(sorted(missing))} is needed too")
    if len(given.values) < len(ULIMIT):
        raise Refused
    limits = Ulimit(**given.values)
    if limits.hard != -1 and not 0 <= limits.soft <= limits.hard:
        raise report.refuse(node, path, f"soft ({limits.soft}) is above hard ({limits.hard})")
    return limits


def wake_filter(node: Node, path: str, report: Report) -> WakeFilter:
    found: WakeFilter = record(WakeFilter, WAKE_FILTER)(node, path, report)
    if not (found.path or found.method or found.user_agent or found.address):
        conditions = ", ".join(key for key in WAKE_FILTER if key != "answer")
        raise report.refuse(node, path, f"at least one of {conditions} is needed")
    return found


def traffic_target(node: Node, path: str, report: Report) -> TrafficTarget:
    if "percent" not in mapping(node, path, report).entries:
        raise report.refuse(node, path, "'percent' is needed")
    found: TrafficTarget = record(TrafficTarget, TRAFFIC)(node, path, report)
    return found


def warm_window(node: Node, path: str, report: Report) -> WarmWindow:
    given = read(node, path, report, WARM_WINDOW)
    missing = [key for key in ("start", "end") if key not in given.keys]
    if missing:
        raise report.refuse(node, path, f"{' and '.join(missing)} is needed")
    if len(given.values) < len(given.keys):
        raise Refused
    return WarmWindow(**given.values)


def waiting_page(node: Node, path: str, report: Report) -> Given:
    """Whether there is one; or what it is like, and then there is one."""
    if isinstance(node, Scalar) and not node.empty:
        return Given({"enabled": scalar(switch)(node, path, report)})
    given = read(node, path, report, WAITING_PAGE)
    given.values["enabled"] = True
    return given


def access_log(node: Node, path: str, report: Report) -> Given:
    """The mapping, or its format alone, as in `access-log: off`."""
    if isinstance(node, Scalar) and not node.empty:
        return Given({"format": choice(AccessLogFormat)(node, path, report)})
    return read(node, path, report, ACCESS_LOG)


# Tables. Ranges are those of Knative's autoscaling annotations where it has them.

_seconds = quantity.duration
_whole = quantity.whole
_positive_seconds = above(_seconds, 0, "more than 0s")

QUEUE: Section = {
    "limit": within(_whole, 0, math.inf, "0 or more"),
    "timeout": _positive_seconds,
}
SCALE: Section = {
    "metric": choice(Metric),
    "target": within(quantity.number, 0.01, math.inf, "0.01 or more"),
    "utilization": percentage(0.01, 1, "1% to 100%"),
    "aggregation": choice(Aggregation),
    "window": whole_seconds(6, 3600, "6s to 1h"),
    "panic-window": percentage(0.01, 1, "1% to 100%"),
    "panic-threshold": percentage(1.1, 10, "110% to 1000%"),
    "down-delay": whole_seconds(0, 3600, "0s to 1h"),
    "retention": within(_seconds, 0, 3600, "0s to 1h"),
    "initial": within(_whole, 0, math.inf, "0 or more"),
    "activation": within(_whole, 1, math.inf, "1 or more"),
    "max-up-rate": above(quantity.number, 1, "more than 1"),
    "max-down-rate": above(quantity.number, 1, "more than 1"),
    "target-burst-capacity": scalar(values.burst_capacity),
}
READINESS: Section = {
    "path": scalar(values.probe_path),
    "timeout": _positive_seconds,
}
IDLE: Section = {
    "freeze-after": scalar(values.freeze_after),
    "stop-after": within(_seconds, 0, math.inf, "0s or more"),
}
WAKE_FILTER: Section = {
    "path": one_or_more(scalar(waking.path_pattern), "paths"),
    "method": one_or_more(scalar(waking.method), "methods"),
    "user-agent": one_or_more(scalar(waking.agent_pattern), "user agents"),
    "address": one_or_more(scalar(quantity.network), "addresses"),
    "answer": scalar(waking.answer),
}
WARM_WINDOW: Section = {
    "start": scalar(waking.cron),
    "end": scalar(waking.cron),
    "timezone": scalar(waking.timezone),
    "min-instances": within(_whole, 1, math.inf, "1 or more"),
}
WAITING_PAGE: Section = {
    "title": raw,
    "refresh": whole_seconds(1, 5, "1s to 5s"),
}
WAKE: Section = {
    "ignore": sequence(wake_filter, "conditions"),
}
TRAFFIC: Section = {
    "revision": scalar(values.revision),
    "percent": within(_whole, 0, 100, "0 to 100"),
}
LOGGING: Section = {
    "driver": scalar(container.driver_name),
    "options": pairs(raw, "NAME=value", container.log_option),
}
ULIMIT: Section = {
    "soft": scalar(container.limit),
    "hard": scalar(container.limit),
}
# What only containers have.
CONTAINER: Section = {
    "pull": choice(Pull),
    "entrypoint": command,
    "working-dir": scalar(container.inner_path),
    "user": scalar(container.user),
    "hostname": scalar(quantity.domain),
    "labels": pairs(raw, "NAME=value", container.label),
    "stop-signal": scalar(container.signal_name),
    "init": scalar(switch),
    "no-new-privileges": scalar(switch),
    "cap-add": sequence(scalar(container.capability), "capabilities"),
    "cap-drop": sequence(scalar(container.capability), "capabilities"),
    "pids-limit": within(_whole, 0, math.inf, "0 or more (0 means no limit)"),
    "ulimits": pairs(ulimit, "NAME=LIMIT", container.ulimit_name),
    "shm-size": within(quantity.memory, 1, math.inf, "more than 0"),
    "read-only": scalar(switch),
    "tmpfs": sequence(scalar(container.tmpfs), "paths"),
    "volumes": sequence(scalar(container.volume), "SOURCE:TARGET"),
    "secrets": pairs(scalar(values.file), "NAME=FILE", container.secret_name),
    "network": scalar(container.reached_through),
    "networks": sequence(scalar(container.network_name), "names"),
    "extra-hosts": sequence(scalar(container.extra_host), "NAME:ADDRESS"),
    "dns": sequence(scalar(container.name_server), "addresses"),
    "logging": logging,
    "container-runtime": scalar(container.runtime_name),
}
ACCESS_LOG: Section = {
    "format": choice(AccessLogFormat),
    "file": scalar(values.file),
}
SERVICE: Section = {
    "image": scalar(values.image),
    "command": command,
    "upstreams": sequence(scalar(values.upstream), "addresses"),
    "port": within(_whole, 1, 65535, "1 to 65535"),
    "env": pairs(raw, "NAME=value", values.variable),
    "domains": sequence(scalar(quantity.domain), "host names"),
    "traffic": sequence(traffic_target, "shares"),
    "rollout-duration": whole_seconds(0, math.inf, "0s or more"),
    "concurrency": within(_whole, 0, 1000, "0 to 1000 (0 means no limit)"),
    "min-instances": within(_whole, 0, math.inf, "0 or more"),
    "max-instances": within(_whole, 0, math.inf, "0 or more (0 means no limit)"),
    "timeout": _positive_seconds,
    "response-start-timeout": _positive_seconds,
    "response-idle-timeout": within(_seconds, 0, math.inf, "0s or more (0s means never)"),
    "tunnel-idle-timeout": within(_seconds, 0, math.inf, "0s or more (0s means never)"),
    "tunnel-drain-timeout": within(_seconds, 0, math.inf, "0s or more"),
    "max-request-body": within(quantity.memory, 0, math.inf, "0 or more"),
    "queue": section(QUEUE),
    "scale": section(SCALE),
    "readiness": section(READINESS),
    "idle": section(IDLE),
    "cpu": within(quantity.cpu, 0.01, math.inf, "0.01 (10m) or more"),
    # Docker refuses a container with less.
    "memory": within(quantity.memory, 6 * 2**20, math.inf, "6Mi or more"),
    "stop-grace": within(_seconds, 0, math.inf, "0s or more"),
    "cold-start-headers": scalar(switch),
    "schedule": sequence(warm_window, "windows"),
    "wake": section(WAKE),
    "waiting-page": waiting_page,
    **CONTAINER,
}


def _belongs_to_one_service(node: Node, path: str, report: Report) -> Any:
    raise report.refuse(node, path, "belongs to one service and cannot be a default")


DEFAULTS: Section = {
    **SERVICE,
    "domains": _belongs_to_one_service,
    "traffic": _belongs_to_one_service,
    "upstreams": _belongs_to_one_service,
}
TOP: Section = {
    "listen": scalar(quantity.host_port),
    "admin": scalar(quantity.host_port),
    "domain": scalar(values.parent_domain),
    "runtime": choice(RuntimeKind),
    "freezer": choice(FreezerKind),
    "frozen-memory": scalar(values.memory_budget),
    "reach": choice(Reach),
    "state-dir": scalar(values.file),
    "access-log": access_log,
    "trusted-proxies": sequence(scalar(quantity.network), "networks"),
    "simultaneous-starts": within(_whole, 1, math.inf, "1 or more"),
    "defaults": section(DEFAULTS),
    "services": mapping,
}

# Where a key belongs, in words; in the order in which places are searched.
_PLACES: dict[str, tuple[Section, str]] = {
    "service": (SERVICE, "a service"),
    "scale": (SCALE, "'scale'"),
    "queue": (QUEUE, "'queue'"),
    "readiness": (READINESS, "'readiness'"),
    "idle": (IDLE, "'idle'"),
    "wake": (WAKE, "'wake'"),
    "schedule": (WARM_WINDOW, "a window of 'schedule'"),
    "waiting-page": (WAITING_PAGE, "'waiting-page'"),
    "wake-filter": (WAKE_FILTER, "'wake.ignore'"),
    "traffic": (TRAFFIC, "a share of 'traffic'"),
    "logging": (LOGGING, "'logging'"),
    "ulimit": (ULIMIT, "a limit of 'ulimits'"),
    "access-log": (ACCESS_LOG, "'access-log'"),
    "top": (TOP, "the top of the file"),
}


def _name(section: Section) -> str:
    if section is DEFAULTS:
        return "service"
    return next(name for name, (keys, _) in _PLACES.items() if keys is section)


@lru_cache(maxsize=1024)
def unknown_key(key: str, place: str) -> str:
    """What to write instead of a key that does not exist in ``place``."""
    return misspelt.advice(key, _PLACES[place][0], _PLACES.values())
