"""What is shown of one revision."""

from __future__ import annotations

from typing import NamedTuple

from wakeful.config.model import Metric
from wakeful.events import Outage, StartPhase


class RevisionStatus(NamedTuple):
    """One revision, as the autoscaler sees it now."""

    service: str
    revision: str
    retired: bool
    awake: bool
    woken: bool  # at any time since it was added
    scheduled: int | None  # instances that its schedule asks for now; None: it has none
    metric: Metric
    desired: int  # what it should have, all rules applied
    starting: int
    ready: int
    resting: int  # of the ready ones: frozen until the next request
    paused: int  # by somebody else
    draining: int
    frozen: int  # spares, which nobody needs now
    stopping: int
    stable: float  # the averages of the latest decision, in units of the metric
    panic: float
    target: float  # per instance, in the same units; 0 while asleep
    excess_burst: int
    panicking: bool
    outage: Outage | None
    failure: str  # why the latest start failed, for the operator; "" when it did not
    blocked_until: float  # no start makes sense before this moment
    # Since it was added
    cold_starts: int  # times that a request found no instance, and some were started for it
    starts: int
    starts_failed: int
    crashes: int
    freezes: int
    thaws: int
    became_ready: int
    start_seconds: float  # from asked-for to ready, of those that became ready
    start_phases: tuple[
        tuple[StartPhase, int, float], ...
    ]  # how many there were, and their seconds

    @property
    def instances(self) -> int:
        """In whatever state."""
        there = self.starting + self.ready + self.paused
        return there + self.draining + self.frozen + self.stopping

    @property
    def restarts(self) -> int:
        """Instances that failed, each of which another one replaces where it is needed."""
        return self.crashes + self.starts_failed
