"""How much load one instance is meant to carry; Knative's ResolveMetricTarget."""

from __future__ import annotations

from dataclasses import dataclass

from wakeful.config.model import Metric, Scale

# Knative's container-concurrency-target-default and requests-per-second-target-default
CONCURRENCY_DEFAULT = 100.0
RPS_DEFAULT = 200.0

SMALLEST = 0.01  # dividing by less would ask for a crowd of instances for one request


@dataclass(frozen=True, slots=True)
class Target:
    value: float  # what the autoscaler steers each instance towards
    total: float  # what an instance is taken to be able to carry


def resolve_target(scale: Scale, concurrency: int) -> Target:
    """The target of an instance with this hard limit (0 = none), in units of the metric."""
    if scale.metric is Metric.RPS:
        total = RPS_DEFAULT if scale.target is None else scale.target
    elif scale.target is None:
        total = float(concurrency) if concurrency else CONCURRENCY_DEFAULT
    else:
        # A soft target above the hard limit could never be reached.
        total = min(scale.target, concurrency) if concurrency else scale.target
    return Target(value=max(SMALLEST, total * scale.utilization), total=total)


def panic_window_seconds(window: float, fraction: float) -> int:
    """The panic window: whole seconds, halves rounded up, at least one."""
    # By way of whole nanoseconds: 29% of 50 s is 14.5 s and rounds to 15,
    # though 50 * 0.29 is a little less than 14.5.
    nanoseconds = round(window * fraction * 1e9)
    return max(1, (nanoseconds + 500_000_000) // 1_000_000_000)
