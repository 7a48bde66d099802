"""What /metrics says: Knative's and OpenTelemetry's names, read off plain counters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeAlias, TypeVar

from prometheus_client import REGISTRY, generate_latest

from wakeful import __version__
from wakeful.config.model import Metric
from wakeful.deploy import Standing
from wakeful.events import StartPhase
from wakeful.metrics import Exposition, Labels, label
from wakeful.proxy.server import DataPlane
from wakeful.proxy.throttler import Throttler
from wakeful.scaler.autoscaler import Autoscaler
from wakeful.scaler.revision_status import RevisionStatus

Samples: TypeAlias = Iterator[tuple[Labels, float]]
T = TypeVar("T")


_BATCH = 500  # services to look at in one go: a millisecond


def render(
    plane: DataPlane,
    scaler: Autoscaler,
    standings: Iterator[Standing],
    reloads: dict[str, int],
    runtime: str,
    sandboxes: int | None,
) -> Iterator[str]:
    """The whole page, in Prometheus' text format 0.0.4, in pieces.

    Whoever asks lets requests be served in between. A service that was never
    asked for has two gauges and nothing to count, so ten thousand of them stay
    cheap; one that sleeps keeps what it has counted.
    """
    throttlers: list[Throttler] = []
    for some in _batches(list(plane.throttlers.values())):
        throttlers += (one for one in some if one.asked)
        yield ""
    statuses: list[RevisionStatus] = []
    for revisions in _batches(scaler.statuses()):
        statuses += revisions
        yield ""
    awake = {status.revision for status in statuses if status.awake}
    stands: list[Standing] = []
    for some_stands in _batches(standings):
        stands += (one for one in some_stands if one.moving or one.latest_ready in awake)
        yield ""

    page = Exposition()
    _requests(page, throttlers, plane)
    _scale(page, statuses)
    _instances(page, statuses)
    page.family("wakeful_frozen_memory_bytes", "gauge", "Memory of frozen spares.",
                [("", scaler.frozen_memory)])  # fmt: skip
    page.family("wakeful_frozen_memory_limit_bytes", "gauge", "What it may be.",
                [("", scaler.frozen_memory_limit)])  # fmt: skip
    _deployments(page, stands)
    _phases(page, statuses, throttlers)
    page.family(
        "wakeful_config_reloads_total",
        "counter",
        "Reloads of the configuration file, by result.",
        ((label("result", result), count) for result, count in reloads.items()),
    )
    page.family("wakeful_autoscaler_decisions_total", "counter", "Decisions taken at ticks.",
                [("", scaler.decisions)])  # fmt: skip
    page.family("wakeful_instance_starts_waiting", "gauge",
                "Instances that wait because simultaneous-starts others are being started.",
                [("", scaler.waiting_starts)])  # fmt: skip
    if sandboxes is not None:
        page.family("wakeful_sandboxes_ready", "gauge", "Network sandboxes that nothing is in yet.",
                    [("", sandboxes)])  # fmt: skip
    page.family("wakeful_open_connections", "gauge", "Client connections open now.",
                [("", len(plane.connections))])  # fmt: skip
    version = ".".join(map(str, sys.version_info[:3]))
    page.family("wakeful_build_info", "gauge", "Always 1.",
                [(_all(version=__version__, python=version, runtime=runtime), 1)])  # fmt: skip
    yield from page.pieces()
    yield generate_latest(REGISTRY).decode()


def _batches(many: Iterable[T]) -> Iterator[list[T]]:
    each = iter(many)
    while batch := list(islice(each, _BATCH)):
        yield batch


def _of(service: str, revision: str, **more: str) -> Labels:
    """Names of services and revisions are of characters that need no escaping."""
    labels = f'kn_service_name="{service}",kn_revision_name="{revision}"'
    return f"{labels},{_all(**more)}" if more else labels


def _all(**labels: str) -> Labels:
    return ",".join(label(name, value) for name, value in labels.items())


def _requests(page: Exposition, throttlers: list[Throttler], plane: DataPlane) -> None:
    page.histograms(
        "http_server_request_duration_seconds",
        "From the request's head to the last byte of its answer, waiting included.",
        (
            (
                _of(
                    one.service,
                    one.name,
                    http_request_method=method.decode("ascii"),
                    http_response_status_code=str(status),
                ),
                histogram,
            )
            for one in throttlers
            for (method, status), histogram in tuple(one.counters.durations.items())
        ),
    )
    page.histograms(
        "wakeful_cold_start_duration_seconds",
        "From a request that found no instance to the head of its answer.",
        (
            (_of(one.service, one.name), one.counters.cold_starts)
            for one in throttlers
            if any(one.counters.cold_starts.counts)
        ),
    )

    def each(value: Callable[[Throttler], float]) -> Samples:
        return ((_of(one.service, one.name), value(one)) for one in throttlers)

    page.family("kn_revision_request_concurrency", "gauge", "Requests held now, waiting included.",
                each(lambda one: one.breaker.active + one.breaker.waiting))  # fmt: skip
    page.family("kn_revision_request_active", "gauge", "Requests inside instances now.",
                each(lambda one: one.breaker.active))  # fmt: skip
    page.family("kn_revision_request_queued", "gauge", "Requests that wait for a slot now.",
                each(lambda one: one.breaker.waiting))  # fmt: skip
    page.family("wakeful_request_body_bytes_total", "counter", "Body bytes from clients.",
                each(lambda one: one.counters.received))  # fmt: skip
    page.family("wakeful_response_body_bytes_total", "counter", "Body bytes to clients.",
                each(lambda one: one.counters.sent))  # fmt: skip
    page.family("wakeful_retries_total", "counter",
                "Requests given to another connection because nothing had reached an instance.",
                each(lambda one: one.counters.retries))  # fmt: skip

    def rejected() -> Samples:
        for reason, count in tuple(plane.unrouted.items()):
            yield _of("", "", reason=reason), count
        for one in throttlers:
            for reason, count in tuple(one.counters.rejected.items()):
                yield _of(one.service, one.name, reason=reason), count

    page.family("wakeful_requests_rejected_total", "counter",
                "Answers of wakeful's own, by reason.", rejected())  # fmt: skip
    dropped = plane.access.dropped if plane.access is not None else 0
    page.family("wakeful_access_log_dropped_total", "counter",
                "Access log lines that nobody read in time.", [("", dropped)])  # fmt: skip


def _scale(page: Exposition, statuses: list[RevisionStatus]) -> None:
    def gauge(
        name: str,
        text: str,
        value: Callable[[RevisionStatus], float],
        among: Iterable[RevisionStatus] = statuses,
    ) -> None:
        page.family(name, "gauge", text, ((_of(s.service, s.revision), value(s)) for s in among))

    gauge("kn_revision_pods_desired", "Instances wanted.", lambda s: s.desired)
    gauge("kn_revision_pods_count", "Instances that are ready.", lambda s: s.ready)
    by_schedule = [status for status in statuses if status.scheduled is not None]
    gauge("wakeful_scheduled_min_instances", "Instances that the schedule asks for now.",
          lambda s: s.scheduled or 0, by_schedule)  # fmt: skip
    # A service that sleeps has no more to say.
    awake = [status for status in statuses if status.awake]
    gauge("kn_revision_pods_not_ready_count", "Instances that are starting.",
          lambda s: s.starting, awake)  # fmt: skip
    gauge("kn_revision_pods_terminating_count", "Instances that drain or stop.",
          lambda s: s.draining + s.stopping, awake)  # fmt: skip
    gauge("kn_revision_panic_mode", "1 while panicking.", lambda s: float(s.panicking), awake)
    gauge("kn_revision_capacity_excess", "Excess burst capacity; reported only.",
          lambda s: s.excess_burst, awake)  # fmt: skip
    for metric in Metric:
        these = [status for status in awake if status.metric is metric]
        for window, value in _WINDOWS.items():
            gauge(
                f"kn_revision_{metric}_{window}", f"The {window} value of {metric}.", value, these
            )


_WINDOWS: dict[str, Callable[[RevisionStatus], float]] = {
    "stable": lambda status: status.stable,
    "panic": lambda status: status.panic,
    "target": lambda status: status.target,
}


def _instances(page: Exposition, statuses: list[RevisionStatus]) -> None:
    there = [status for status in statuses if status.awake or status.frozen]
    woken = [status for status in statuses if status.woken]

    def states() -> Samples:
        for status in there:
            for state, count in (
                ("starting", status.starting),
                ("ready", status.ready - status.resting),
                ("paused", status.paused),
                ("draining", status.draining),
                ("frozen", status.resting + status.frozen),
                ("stopping", status.stopping),
            ):
                yield _of(status.service, status.revision, state=state), count

    page.family("wakeful_instances", "gauge", "Instances now, by state.", states())

    def counter(name: str, text: str, value: Callable[[RevisionStatus], float]) -> None:
        page.family(name, "counter", text, ((_of(s.service, s.revision), value(s)) for s in woken))

    counter("wakeful_cold_starts_total", "Times a request found no instance and one was started.",
            lambda s: s.cold_starts)  # fmt: skip
    counter("wakeful_instance_starts_total", "Instances started.", lambda s: s.starts)
    counter("wakeful_instance_start_failures_total", "Instances that never became ready.",
            lambda s: s.starts_failed)  # fmt: skip
    counter("wakeful_instance_crashes_total", "Instances that ended by themselves.",
            lambda s: s.crashes)  # fmt: skip
    counter("wakeful_instance_freezes_total", "Times an instance was frozen.", lambda s: s.freezes)
    counter("wakeful_instance_thaws_total", "Times one was thawed.", lambda s: s.thaws)


def _deployments(page: Exposition, standings: list[Standing]) -> None:
    page.family("wakeful_revision_traffic_percent", "gauge",
                "What a revision gets of its service's requests.",
                ((_of(one.service, share.revision), share.percent)
                 for one in standings for share in one.traffic))  # fmt: skip
    page.family("wakeful_deployment_pending", "gauge",
                "1 for a latest revision that is not ready, so that another one serves.",
                ((_of(one.service, one.latest_created), 1)
                 for one in standings if one.pending))  # fmt: skip


def _phases(page: Exposition, statuses: list[RevisionStatus], throttlers: list[Throttler]) -> None:
    def samples() -> Iterator[tuple[Labels, int, float]]:
        for status in statuses:
            for phase, count, seconds in status.start_phases:
                yield _of(status.service, status.revision, phase=phase), count, seconds
        for one in throttlers:
            first = one.counters.first_bytes
            if first.count:
                yield (
                    _of(one.service, one.name, phase=StartPhase.FIRST_BYTE),
                    first.count,
                    first.sum,
                )

    page.summaries(
        "wakeful_instance_start_phase_seconds",
        "What starts of instances consist of: the number and the sum of each phase.",
        samples(),
    )
