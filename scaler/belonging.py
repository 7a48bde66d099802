"""Which revision an instance belongs to, of all that there are on this host."""

from __future__ import annotations

from wakeful.runtime.instance import InstanceId
from wakeful.scaler.revision_scaler import RevisionScaler

_LEAST_ROOM = 64


class Belonging:
    """A table that is asked instead of every revision; one that sleeps may have spares too.

    Which instances there are is for each fleet to say. Those that are gone are dropped
    from here when the table is full, and it is then made twice as large as what is left.
    """

    def __init__(self) -> None:
        self._revisions: dict[InstanceId, RevisionScaler] = {}
        self._room = _LEAST_ROOM

    def add(self, instance: InstanceId, revision: RevisionScaler) -> None:
        """It is about to be begun."""
        if len(self._revisions) >= self._room:
            self._revisions = {one: it for one, it in self._revisions.items() if _has(it, one)}
            self._room = max(_LEAST_ROOM, 2 * len(self._revisions))
        self._revisions[instance] = revision

    def of(self, instance: InstanceId) -> RevisionScaler | None:
        """None when it is none of ours, or is gone."""
        it = self._revisions.get(instance)
        return it if it is not None and _has(it, instance) else None


def _has(revision: RevisionScaler, instance: InstanceId) -> bool:
    return revision.fleet is not None and instance in revision.fleet
