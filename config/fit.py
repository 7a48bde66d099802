"""What a configuration asks for that the runtime it will run on cannot give."""

from __future__ import annotations

from wakeful.config.model import Config, RuntimeKind, Template
from wakeful.config.nodes import child


def misfits(config: Config, runtime: RuntimeKind) -> list[tuple[str, str]]:
    """The path and the message of everything ``runtime`` cannot honour.

    Says it rather than dropping it: a memory limit that does not limit is
    worse than none. ``runtime`` is what was found, never auto.
    """
    assert runtime is not RuntimeKind.AUTO
    found: list[tuple[str, str]] = []
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
    return asks
