"""What changed between two configurations, and whether a definition is still the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from wakeful.config.essence import essence
from wakeful.config.model import Config, Service, Template

# Part of every digest. A default of the model that changes must come with a
# new epoch, because a digest leaves out what has its default value.
EPOCH = 1

# What an instance is not made from: it changes for a running revision. The
# attributes of Template.
LIVE = frozenset(
    (
        "concurrency",
        "min_instances",
        "max_instances",
        "timeout",
        "response_start_timeout",
        "response_idle_timeout",
        "tunnel_drain_timeout",
        "tunnel_idle_timeout",
        "max_request_body",
        "queue",
        "scale",
        "idle",
        "stop_grace",
        "cold_start_headers",
        "schedule",
        "wake",
        "waiting_page",
    )
)

# What is opened once, at the start. The keys of the file, as in Config.
FIXED_KEYS = (
    "listen",
    "admin",
    "runtime",
    "freezer",
    "reach",
    "state-dir",
    "access-log",
    "simultaneous-starts",
)


@dataclass(frozen=True, slots=True)
class Diff:
    """Names of services, each in one place at most."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed_template: tuple[str, ...] = ()  # these need a new revision
    retuned: tuple[str, ...] = ()  # the same instances under other settings
    rerouted: tuple[str, ...] = ()  # the same instances, reached in another way

    def __bool__(self) -> bool:
        return self != _NOTHING


_NOTHING = Diff()


def diff(old: Mapping[str, Service], new: Mapping[str, Service]) -> Diff:
    changed, retuned, rerouted = [], [], []
    for name in new.keys() & old.keys():
        if old[name] == new[name]:
            continue
        before, after = old[name].template, new[name].template
        if definition(before) != definition(after):
            changed.append(name)
        elif before != after:
            retuned.append(name)
        else:
            rerouted.append(name)
    return Diff(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed_template=tuple(sorted(changed)),
        retuned=tuple(sorted(retuned)),
        rerouted=tuple(sorted(rerouted)),
    )


def definition(template: Template) -> Template:
    """What its instances are made from, with every setting that is not part of it at its default.

    A revision is a definition: other settings apply to the instances there are.
    """
    return replace(template, **{name: getattr(_DEFAULTS, name) for name in LIVE})


def tuned(template: Template, settings: Template) -> Template:
    """The same instances, under the settings of another template."""
    return replace(template, **{name: getattr(settings, name) for name in LIVE})


_DEFAULTS = Template()


def fixed_changes(old: Config, new: Config) -> tuple[str, ...]:
    """Keys of the top level that differ and that only a restart can change."""
    changed = []
    for key in FIXED_KEYS:
        attribute = key.replace("-", "_")
        if getattr(old, attribute) != getattr(new, attribute):
            changed.append(key)
    return tuple(changed)


def digest(template: Template) -> str:
    """A name for what a template's instances are made from, the same in every run.

    Only what differs from a default counts, so that a field which a later
    version adds leaves the digests of templates that do not use it alone.
    """
    said = {name: value for name, value in essence(template).items() if name not in LIVE}
    text = json.dumps([EPOCH, said], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
