"""Knative's autoscaler settings, as config-autoscaler keys and annotations, in our own model.

A revision's annotation wins over the ConfigMap's key. Only what bears on one
decision is read; the rest (class, bounds, grace) is somebody else's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from wakeful.config.model import Aggregation, Metric, Scale, Template
from wakeful.scaler.decider import Policy
from wakeful.scaler.target import CONCURRENCY_DEFAULT, RPS_DEFAULT, panic_window_seconds

Json = Mapping[str, object]

UTILIZATION = 0.7  # of requests per second, unless annotated

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


class Malformed(Exception):
    """The file is not what it should be; the message says where."""


@contextmanager
def well_formed(what: str) -> Iterator[None]:
    """Whatever a recorded value trips over in here, the file is at fault."""
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        raise Malformed(f"{what}: {type(error).__name__}: {error}") from error


@dataclass(frozen=True, slots=True)
class Settings:
    configmap: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)  # short names
    concurrency: int = 0
    reachable: bool = True

    def scale(self) -> Scale:
        metric = Metric(self.annotations.get("metric", "concurrency"))
        target = self._number("target", None)
        annotated = self._number("target-utilization-percentage", None)
        if metric is Metric.RPS:
            utilization = UTILIZATION
            target = target or self._number(None, "requests-per-second-target-default", RPS_DEFAULT)
        else:
            utilization = _fraction(
                self._number(None, "container-concurrency-target-percentage", 70.0)
            )
            if target is None and not self.concurrency:
                target = self._number(
                    None, "container-concurrency-target-default", CONCURRENCY_DEFAULT
                )
        return Scale(
            metric=metric,
            aggregation=self.aggregation(),
            target=target,
            utilization=utilization if annotated is None else annotated / 100,
            window=self._duration("window", "stable-window", 60.0),
            panic_window=self._both("panic-window-percentage", 10.0) / 100,
            panic_threshold=self._both("panic-threshold-percentage", 200.0) / 100,
            down_delay=self._duration("scale-down-delay", "scale-down-delay", 0.0),
            activation=int(self._number("activation-scale", None) or 1),
            max_up_rate=self._both("max-scale-up-rate", 1000.0),
            max_down_rate=self._both("max-scale-down-rate", 2.0),
            target_burst_capacity=self._both("target-burst-capacity", 211.0),
        )

    def policy(self) -> Policy:
        template = Template(concurrency=self.concurrency, scale=self.scale())
        return Policy.of(template, reachable=self.reachable)

    def aggregation(self) -> Aggregation:
        return aggregation(self.annotations.get("metric-aggregation-algorithm", "linear"))

    def windows(self) -> tuple[int, int]:
        """The stable and the panic window, in seconds."""
        scale = self.scale()
        return int(scale.window), panic_window_seconds(scale.window, scale.panic_window)

    def derived(self) -> dict[str, object]:
        """What a trace file repeats in its ``derived``."""
        policy, (stable, panic) = self.policy(), self.windows()
        return {
            "activation_scale": policy.activation,
            "aggregation": self.aggregation(),
            "max_scale_down_rate": policy.max_down_rate,
            "max_scale_up_rate": policy.max_up_rate,
            "panic_threshold": policy.panic_threshold,
            "panic_window_s": panic,
            "reachable": policy.reachable,
            "scale_down_delay_s": policy.down_delay,
            "scaling_metric": self.scale().metric.value,
            "stable_window_s": stable,
            "target_burst_capacity": policy.target_burst_capacity,
            "target_value": policy.target,
            "total_value": policy.total,
        }

    def _both(self, key: str, default: float) -> float:
        number = self._number(key, key, default)
        assert number is not None
        return number

    def _number(
        self, annotation: str | None, key: str | None, default: float | None = None
    ) -> float | None:
        text = self._text(annotation, key)
        if text is None:
            return default
        try:
            return float(text)
        except ValueError:
            raise Malformed(f"{annotation or key}: not a number: {text!r}") from None

    def _duration(self, annotation: str, key: str, default: float) -> float:
        text = self._text(annotation, key)
        return default if text is None else duration(text)

    def _text(self, annotation: str | None, key: str | None) -> str | None:
        if annotation is not None and annotation in self.annotations:
            return self.annotations[annotation]
        return self.configmap.get(key) if key else None


def settings(
    configmap: Json, annotations: Json, concurrency: int, reachable: bool = True
) -> Settings:
    return Settings(
        configmap={key: str(value) for key, value in configmap.items()},
        annotations={_short(key): str(value) for key, value in annotations.items()},
        concurrency=concurrency,
        reachable=reachable,
    )


def aggregation(name: str) -> Aggregation:
    return Aggregation("weighted-exponential" if name == "weightedExponential" else name)


def duration(text: str) -> float:
    """Seconds of a Go duration: 1m30s."""
    if text == "0":
        return 0.0
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise Malformed(f"not a duration: {text!r}")
    return float(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _short(annotation: str) -> str:
    """``autoscaling.knative.dev/targetBurstCapacity`` is target-burst-capacity."""
    name = annotation.rpartition("/")[2]
    return re.sub(r"(?<=[a-z])([A-Z])", lambda letter: "-" + letter[1].lower(), name)


def _fraction(percentage: float | None) -> float:
    """The ConfigMap's percentage: 70, or 0.7 meaning the same."""
    assert percentage is not None
    return percentage if percentage <= 1.0 else percentage / 100
