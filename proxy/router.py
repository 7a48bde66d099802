"""From a Host field to a service: an immutable table, replaced whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# Host is the client's to choose, so what is remembered of it is bounded.
_REMEMBERED: Final = 4096


class Route(Generic[T]):
    """Where a service's requests go; shares are percents that sum to 100."""

    __slots__ = ("only", "service", "shares")

    def __init__(self, service: str, shares: Sequence[tuple[int, T]]) -> None:
        self.service = service
        self.shares = shares
        self.only: T | None = shares[0][1] if len(shares) == 1 else None


class RouteTable(Generic[T]):
    """Host names to routes. One dict look-up, however many services there are."""

    def __init__(self, routes: Mapping[str, Route[T]]) -> None:
        self._routes = {host.encode("ascii"): route for host, route in routes.items()}
        self._seen: dict[bytes, Route[T]] = {}
        # Of a Host as it came before, to be asked first. In two steps: see KnownHeads.
        self.known: Callable[[bytes], Route[T] | None] = self._seen.get

    def replaced(self, routes: Mapping[str, Route[T]]) -> RouteTable[T]:
        """The same table, with other routes for these hosts."""
        table: RouteTable[T] = RouteTable(routes)
        table._routes = self._routes | table._routes
        return table

    def match(self, host: bytes) -> Route[T] | None:
        """The route of a Host field's value as it came: any case, with or without a port."""
        route = self._routes.get(host_name(host))
        if route is not None and len(self._seen) < _REMEMBERED:
            self._seen[host] = route
        return route


def host_name(host: bytes) -> bytes:
    """The name in a Host field: lower case, no port, no final dot."""
    name = host.lower()
    if name[:1] == b"[":
        return name[: name.find(b"]") + 1]
    name, _, _ = name.partition(b":")
    return name[:-1] if name[-1:] == b"." else name
