"""What sleeps costs next to nothing."""

from __future__ import annotations

from benchmarks.rest import measure


def test_a_thousand_sleeping_services_cost_no_cpu_and_little_memory() -> None:
    rest = measure(services=1000, asked=20, seconds=4)
    assert rest.rss < 150 * 2**20
    # A bound that a loaded machine cannot reach by itself: CPU time is not waiting time.
    assert rest.cpu < 0.02 * rest.seconds
