"""How long to leave a revision alone after its instances failed to start.

The shape is Kubernetes' CrashLoopBackOff: the delay doubles with every failed
try up to a cap. It begins at one second rather than ten, because here somebody
may be waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0

# An instance that was ready for this long has proved that the revision works:
# what it does afterwards is a new story, and the delays begin anew.
PROVEN_AFTER = 10.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The tries that failed in a row, and when the next one may begin."""

    failures: int = 0
    failed_at: float = -inf  # the first failure of the latest try
    until: float = -inf

    @property
    def delay(self) -> float:
        """The wait that the latest failure asked for."""
        # The exponent is capped before the power: 2.0**1024 overflows.
        doublings = min(max(self.failures - 1, 0), 16)
        return min(FIRST_DELAY * 2.0**doublings, LONGEST_DELAY)

    def blocks(self, now: float) -> bool:
        return now < self.until

    def failed(self, began: float, now: float) -> Backoff:
        """What to remember after an instance asked for at ``began`` failed.

        Instances that were asked for together fail together, and are one try:
        ten of them must not push the next one to its longest delay. So a
        failure doubles the delay only if its instance was asked for after the
        failure before it.
        """
        another = began > self.failed_at
        latest = Backoff(self.failures + 1, failed_at=now) if another else self
        return replace(latest, until=now + latest.delay)


FRESH = Backoff()
