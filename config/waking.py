"""How the keys are read that say what wakes a service, and what does not."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from wakeful.config.quantity import shown
from wakeful.config.readers import closest, matching

# What asks again whether a service lives is told so with one of these; each is whole
# without a field that only an application could fill in.
_ANSWERS = ("200", "202", "204", "403", "404", "410", "429", "503")


def answer(text: str) -> int:
    if text not in _ANSWERS:
        raise ValueError(f"expected one of {', '.join(_ANSWERS)}, not {shown(text)}")
    return int(text)


method = matching(r"[A-Z][A-Z0-9_-]*", "a method in capitals such as HEAD")


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


def cron(text: str) -> str:
    """Five fields, which some time of the calendar fits."""
    if len(text.split()) != 5:
        raise ValueError(
            "expected five fields (minute, hour, day, month, weekday) such as "
            f"'0 8 * * mon-fri', not {shown(text)}"
        )
    try:
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as wrong:
        raise ValueError(f"not a cron expression: {shown(text)}: {str(wrong).lower()}") from None
    except StopIteration:
        raise ValueError(f"there is no such time: {shown(text)}") from None
    return text


def timezone(text: str) -> str:
    try:
        ZoneInfo(text)
    except (KeyError, ValueError, OSError):  # not found, no name, or a folder of zones
        close = closest(text, available_timezones())
        hint = f"; did you mean {close}?" if close else ", such as Europe/Berlin"
        raise ValueError(f"not a time zone: {shown(text)}{hint}") from None
    return text
