"""How the keys are read that say what wakes a service, and what does not."""

from __future__ import annotations

import re

from wakeful.config.quantity import shown

# What asks again whether a service lives is told so with one of these; each is whole
# without a field that only an application could fill in.
_ANSWERS = ("200", "202", "204", "403", "404", "410", "429", "503")


def answer(text: str) -> int:
    if text not in _ANSWERS:
        raise ValueError(f"expected one of {', '.join(_ANSWERS)}, not {shown(text)}")
    return int(text)


def method(text: str) -> str:
    if not re.fullmatch(r"[A-Z][A-Z0-9_-]*", text):
        raise ValueError(f"expected a method in capitals such as HEAD, not {shown(text)}")
    return text


def path_pattern(text: str) -> str:
    if not re.fullmatch(r"[/*][!-~]*", text):
        raise ValueError(f"expected a path such as /healthz or /health/*, not {shown(text)}")
    if "?" in text or "#" in text:
        raise ValueError(f"only the path is looked at, without its query: {shown(text)}")
    return text


def agent_pattern(text: str) -> str:
    if not text:
        raise ValueError("expected a text such as *UptimeRobot*, not ''")
    return text
