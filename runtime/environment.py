"""What an instance is told about itself: its environment, and its command line.

The names are the container contract of Knative and Cloud Run.
"""

from __future__ import annotations

import re

from wakeful.config.model import Revision

_PORT = re.compile(r"\$(?:PORT(?![A-Za-z0-9_])|\{PORT\})")


def environment(revision: Revision, port: int) -> dict[str, str]:
    """The variables of one instance; ours win, since routing depends on them."""
    return {
        **dict(revision.template.env),
        "PORT": str(port),
        "K_SERVICE": revision.service,
        "K_REVISION": revision.name,
        "K_CONFIGURATION": revision.service,
    }


def command(revision: Revision, port: int) -> list[str]:
    """The command with the port filled in: no shell runs, so nothing else would do it."""
    return _with_port(revision.template.command, port)


def entrypoint(revision: Revision, port: int) -> list[str]:
    return _with_port(revision.template.container.entrypoint, port)


def _with_port(words: tuple[str, ...], port: int) -> list[str]:
    return [_PORT.sub(str(port), word) for word in words]
