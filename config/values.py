"""How the text of one key is read, where no unit or vocabulary is shared with others.

What only containers have is in ``container``, what is about waking in ``waking``.
"""

from __future__ import annotations

import shlex

from wakeful.config import quantity
from wakeful.config.model import HostPort, MemoryBudget
from wakeful.config.quantity import shown
from wakeful.config.readers import matching

image = matching(r"[A-Za-z0-9][A-Za-z0-9._:/@-]*", "an image such as hello:1.10")
revision = matching(r"[a-z0-9-]+-[0-9]{5,}", "a revision such as hello-00001")
probe_path = matching(r"/[!-~]*", "a path that begins with '/'")


def upstream(text: str) -> HostPort:
    address = quantity.host_port(text)
    if not address.host:
        raise ValueError(
            f"expected an address with a host such as 127.0.0.1:9001, not {shown(text)}"
        )
    return address


def parent_domain(text: str) -> str:
    name = quantity.domain(text)
    if len(name) > 253 - 58:
        raise ValueError("must be at most 195 characters, so that NAME.domain is a host name")
    return name


def burst_capacity(text: str) -> float:
    if text == "-1":
        return -1.0
    if text.startswith("-"):
        raise ValueError(f"must be 0 or more, or -1 (as much as there is), not {text}")
    return quantity.number(text)


def file(text: str) -> str:
    if not text or text.startswith("~"):
        raise ValueError(f"expected a path ('~' is not expanded), not {shown(text)}")
    return text


def freeze_after(text: str) -> float | None:
    if text == "never":
        return None
    try:
        return quantity.duration(text)
    except ValueError as wrong:
        raise ValueError(f"{wrong}; 'never' is possible as well") from None


def memory_budget(text: str) -> MemoryBudget:
    if not text.endswith("%"):
        return MemoryBudget(bytes=quantity.memory(text))
    share = quantity.ratio(text)
    if share > 1:
        raise ValueError(f"must be 0% to 100%, or an amount such as 2Gi, not {text}")
    return MemoryBudget(share=share)


def words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as wrong:
        raise ValueError(f"cannot be split into words: {str(wrong).lower()}") from None


# The container contract gives these their values.
RESERVED_ENV = frozenset({"PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"})


def variable(name: str) -> str:
    if name in RESERVED_ENV:
        raise ValueError("wakeful sets this variable itself")
    if not name or "=" in name:
        raise ValueError("the name of a variable may not be empty or contain '='")
    return name
