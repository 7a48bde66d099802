"""Requests that are no activity: which they are, and what they are told.

Pure. What an uptime checker, a bot or a health probe asks neither wakes a
service nor keeps it awake; an instance that is there anyway may answer it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from wakeful.config.model import WakeFilter
from wakeful.proxy import reply
from wakeful.proxy.forwarding import within
from wakeful.proxy.framing import RequestHead
from wakeful.proxy.headers import first


class Rule:
    """One filter, ready to be held against heads, and its answers."""

    __slots__ = ("_agents", "_methods", "_paths", "asleep", "busy", "networks")

    def __init__(self, given: WakeFilter) -> None:
        self.asleep = reply.asleep(given.answer)
        self.busy = reply.busy(given.answer)
        self.networks = given.address
        self._methods = frozenset(method.encode("ascii") for method in given.method)
        self._paths = [_pattern(path) for path in given.path]
        self._agents = [_pattern(agent.lower()) for agent in given.user_agent]

    def fits(self, head: RequestHead) -> bool:
        """Whether all holds that can be said of the head alone."""
        if self._methods and head.method not in self._methods:
            return False
        if self._paths:
            path = head.target.partition(b"?")[0]
            if not any(matches(pattern, path) for pattern in self._paths):
                return False
        if self._agents:
            agent = first(head.fields, b"user-agent").lower()
            return any(matches(pattern, agent) for pattern in self._agents)
        return True


class WakeFilters:
    """Those of one revision. What a head alone decides is decided once: heads are shared."""

    __slots__ = ("_rules",)

    def __init__(self, filters: Sequence[WakeFilter]) -> None:
        self._rules = [Rule(one) for one in filters]

    def match(self, head: RequestHead, asked_by: Callable[[RequestHead], str]) -> Rule | None:
        """The first rule that the request falls under, or None: it is activity."""
        judged = head.judged
        if judged is None or judged[0] is not self:
            fitting = tuple(rule for rule in self._rules if rule.fits(head))
            judged = head.judged = (self, fitting)
        for rule in judged[1]:
            if not rule.networks or within(rule.networks, asked_by(head)):
                return rule
        return None


# What lies between the stars.
Pattern: TypeAlias = list[bytes]


def _pattern(text: str) -> Pattern:
    return text.encode().split(b"*")


def matches(pattern: Pattern, value: bytes) -> bool:
    """Whether ``value`` is the pattern with any text for each star.

    From left to right, each part at its first place: in time that grows with
    the value and not with a power of it, since clients write the values.
    """
    head, *parts = pattern
    if not parts:
        return value == head
    tail = parts.pop()
    at, end = len(head), len(value) - len(tail)
    if at > end or not value.startswith(head) or not value.endswith(tail):
        return False
    for part in parts:
        found = value.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
