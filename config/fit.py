"""What a configuration asks for that the runtime it will run on cannot give."""

from __future__ import annotations

from dataclasses import fields

from wakeful.config.model import Config, Container, FreezerKind, RuntimeKind, Template
from wakeful.config.nodes import child

_ONLY_CONTAINERS = "runtime process has no {}, which only containers have; leave it out"
_INSTEAD = {
    "secrets": "runtime process has no /run/secrets; name the file in 'env' instead",
    "volumes": "runtime process mounts nothing: its commands see this host's files",
}


def misfits(config: Config, runtime: RuntimeKind) -> list[tuple[str, str]]:
    """The path and the message of everything ``runtime`` cannot honour.

    Says it rather than dropping it: a memory limit that does not limit is
    worse than none. ``runtime`` is what was found, never auto.
    """
    assert runtime is not RuntimeKind.AUTO
    found: list[tuple[str, str]] = []
    if runtime is RuntimeKind.PROCESS and config.freezer is not FreezerKind.AUTO:
        message = "runtime process freezes with signals, and has no choice; leave it out"
        found.append(("freezer", message))
    for name, service in config.services.items():
        template = service.template  # of upstreams it has none of what is asked for below
        ask = _docker(template) if runtime is RuntimeKind.DOCKER else _process(template)
        path = child("services", name)
        found += [(child(path, key), message) for key, message in ask]
    return found


def _docker(template: Template) -> list[tuple[str, str]]:
    if template.image or not template.command:
        return []
    message = (
        "with runtime docker a command needs an 'image' to run in; "
        "'runtime: process' runs it on this host"
    )
    return [("command", message)]


def _process(template: Template) -> list[tuple[str, str]]:
    asks: list[tuple[str, str]] = []
    if template.image:
        message = "runtime process cannot run an image; give a 'command', or use 'runtime: docker'"
        asks.append(("image", message))
    for key, value in (("cpu", template.cpu), ("memory", template.memory)):
        if value is not None:
            asks.append((key, f"runtime process cannot limit {key}; leave it out"))
    given, usual = template.container, Container()
    for field in fields(Container):
        if getattr(given, field.name) != getattr(usual, field.name):
            key = field.name.replace("_", "-")
            asks.append((key, _INSTEAD.get(key, _ONLY_CONTAINERS).format(key)))
    return asks
