"""What an operator may have meant by a key that does not exist."""

from __future__ import annotations

import re
from collections.abc import Collection

from wakeful.config.readers import closest

# What the same things are called in Compose files and by Knative.
_FOREIGN = {
    "environment": "env",
    "ports": "port",
    "cpus": "cpu",
    "mem-limit": "memory",
    "stop-grace-period": "stop-grace",
    "pull-policy": "pull",
    "network-mode": "network",
    "runtime": "container-runtime",
    "healthcheck": "readiness",
    "min-scale": "min-instances",
    "max-scale": "max-instances",
    "container-concurrency": "concurrency",
    "timeout-seconds": "timeout",
    "stable-window": "window",
    "scale-down-delay": "down-delay",
    "revision-name": "revision",
    "initial-scale": "initial",
    "activation-scale": "activation",
    "metric-aggregation-algorithm": "aggregation",
}


def advice(key: str, here: Collection[str], places: Collection[tuple[Collection[str], str]]) -> str:
    """Of the keys that exist ``here``, or else in one of ``places``, which come with their words.

    Takes a while: many words are compared.
    """
    kebab = re.sub(r"(?<=[a-z])(?=[A-Z])|_", "-", key).lower()
    kebab = _FOREIGN.get(kebab, kebab)
    if kebab in here:
        return f"unknown key; did you mean {kebab!r}?"
    for keys, words in places:
        if kebab in keys:
            spelt = "it" if kebab == key else repr(kebab)
            return f"unknown key here; {spelt} belongs in {words}"
    if close := closest(kebab, here):
        return f"unknown key; did you mean {close!r}?"
    for keys, words in places:
        if close := closest(kebab, keys):
            return f"unknown key; did you mean {close!r}, in {words}?"
    return f"unknown key; known here are {', '.join(here)}"
