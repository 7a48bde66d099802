"""Whether something was leaked: what was held at rest, again and again, and how that grew."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

MEMORY = "private memory, MB"

# What memory may grow by in a thousand cycles.
_MB = 1.0
# Below these a slope says more of the allocator than of what runs on it.
_FEWEST_SAMPLES, _FEWEST_CYCLES = 10, 300


@dataclass(frozen=True, slots=True)
class Held:
    """What there was at one moment at rest."""

    cycles: int  # since the first of these moments
    counts: Mapping[str, int]
    memory: int  # bytes


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of thing over the whole run."""

    name: str
    first: float
    before: float  # the most until half of the cycles were over
    after: float
    per_thousand: float | None  # cycles; None: there were too few to say
    judged: bool

    @property
    def leaked(self) -> bool:
        if not self.judged:
            return False
        if self.name == MEMORY:
            return self.per_thousand is not None and self.per_thousand >= _MB
        return self.after > self.before


def judge(samples: Sequence[Held], others: Collection[str] = ()) -> list[Line]:
    """A line for each kind, memory last. ``others`` are kinds that somebody else has too.

    Things are counted, and one more at the end than ever in the first half is a leak: a pool
    of threads may find late that it needs one more, but not again and again. Memory is
    not so exact: it is the median of the slopes between any two samples that counts (Theil
    and Sen), which a single step up or down does not move.
    """
    first, last = samples[0], samples[-1]
    cycles = last.cycles - first.cycles
    most = most_before(samples)
    lines = []
    for name, begun in first.counts.items():
        after = last.counts[name]
        growth = (after - begun) * 1000 / cycles
        lines.append(Line(name, begun, most[name], after, growth, name not in others))
    enough = len(samples) >= _FEWEST_SAMPLES and cycles >= _FEWEST_CYCLES
    slope = _slope(samples) if enough else None
    early = max(each.memory for each in _early(samples)) / 1e6
    lines.append(Line(MEMORY, first.memory / 1e6, early, last.memory / 1e6, slope, enough))
    return lines


def most_before(samples: Sequence[Held]) -> dict[str, int]:
    """What there was at most of each kind until half of the cycles were over."""
    early = _early(samples)
    return {name: max(each.counts[name] for each in early) for name in samples[0].counts}


def _early(samples: Sequence[Held]) -> list[Held]:
    return [each for each in samples if each.cycles <= samples[-1].cycles / 2]


def _slope(samples: Sequence[Held]) -> float:
    """Megabytes in a thousand cycles."""
    return median(
        (late.memory - early.memory) / 1e6 * 1000 / (late.cycles - early.cycles)
        for early, late in combinations(samples, 2)
    )
