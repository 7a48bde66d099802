"""What is remembered of a revision while it is awake, without any instance."""

from __future__ import annotations

import pytest

from wakeful.config.model import Metric, Scale, Template
from wakeful.events import Sample
from wakeful.scaler.attention import Attention


def attention(scale: Scale = Scale()) -> Attention:  # noqa: B008 (frozen)
    return Attention(
        Template(image="hello:1", scale=scale),
        reachable=True,
        scheduled=0,
        running=0,
        initial_reached=False,
        now=0.0,
    )


def test_what_was_remembered_before_anything_was_measured_changes_nothing() -> None:
    was = attention().remember(now=5.0, second=5)
    it = attention()
    before = it.phase
    assert it.recall(was, gap=2.0, now=9.0, second=3)
    assert it.phase == before
    again = it.remember(now=9.0, second=3)
    assert (again.stable, again.panic, again.active) == (None, None, None)


@pytest.mark.parametrize(("gap", "of_use"), [(60.0, True), (60.5, False), (-1.0, False)])
def test_what_was_measured_is_of_use_for_a_window(gap: float, of_use: bool) -> None:
    was = attention()
    was.record(Sample(concurrency=7.0), second=1, seconds=1)
    it = attention()
    assert it.recall(was.remember(now=5.0, second=1), gap, now=100.0, second=1) is of_use
    assert (it.remember(now=100.0, second=1).stable is not None) is of_use


def test_requests_a_second_say_nothing_of_concurrency() -> None:
    was = attention(Scale(metric=Metric.RPS)).remember(now=5.0, second=5)
    assert not attention().recall(was, gap=1.0, now=9.0, second=5)
