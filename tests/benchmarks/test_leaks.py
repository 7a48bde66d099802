"""What is taken for a leak, and what is not."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.cycles import Report
from benchmarks.leaks import MEMORY, Held, judge
from tests.benchmarks.reports import MACHINE

MB = 1_000_000


def leaked(samples: Sequence[Held], others: Sequence[str] = ()) -> list[str]:
    return [line.name for line in judge(samples, others) if line.leaked]


def threads(before: int, after: int) -> list[Held]:
    return [
        Held(0, {"threads": before, "pipes": 4}, 0),
        Held(50, {"threads": after, "pipes": 4}, 0),
    ]


def memory(*megabytes: float, cycles: int = 100) -> list[Held]:
    """A sample every so many cycles."""
    return [Held(n * cycles, {}, int(each * MB)) for n, each in enumerate(megabytes)]


def test_one_more_than_before_is_a_leak_and_one_less_is_none() -> None:
    assert leaked(threads(10, 11)) == ["threads"]
    assert leaked(threads(10, 10)) == []
    assert leaked(threads(10, 9)) == []


def counted(*threads: int) -> list[Held]:
    return [Held(20 * n, {"threads": each}, 0) for n, each in enumerate(threads)]


def test_one_more_in_the_first_half_that_stays_one_is_no_leak() -> None:
    assert leaked(counted(10, 10, 11, 11, 11)) == []
    assert leaked(counted(10, 10, 10, 11, 11)) == ["threads"]
    assert leaked(counted(10, 11, 11, 11, 12)) == ["threads"]


def test_growth_is_told_for_a_thousand_cycles() -> None:
    growth = {line.name: line.per_thousand for line in judge(threads(10, 11))}
    assert growth == {"threads": 20, "pipes": 0, MEMORY: None}


def test_what_others_have_too_is_shown_and_not_judged() -> None:
    assert leaked(threads(10, 11), others=["threads"]) == []
    (line, _, _) = judge(threads(10, 11), others=["threads"])
    assert (line.before, line.after, line.judged) == (10, 11, False)


def test_memory_that_grows_by_a_megabyte_in_a_thousand_cycles_leaks() -> None:
    assert leaked(memory(*(40 + 0.1 * n for n in range(11)))) == [MEMORY]
    assert leaked(memory(*(40 + 0.09 * n for n in range(11)))) == []


def test_memory_that_steps_up_once_and_stays_does_not_leak() -> None:
    assert leaked(memory(40, *[45] * 10)) == []
    assert leaked(memory(*[40] * 10, 45)) == []


def test_memory_that_swings_does_not_leak() -> None:
    assert leaked(memory(*[40, 42, 41] * 5)) == []


def test_memory_is_not_judged_by_a_few_samples_or_a_few_cycles() -> None:
    assert leaked(memory(*range(40, 49))) == []
    assert leaked(memory(*range(40, 60), cycles=10)) == []
    assert not judge(memory(*range(40, 60), cycles=10))[-1].judged


@given(
    rate=st.floats(1.1, 50),
    swing=st.lists(st.floats(-0.05, 0.05), min_size=20, max_size=20),
)
def test_a_leak_is_seen_through_what_swings(rate: float, swing: list[float]) -> None:
    grows = [40 + rate * n / 10 + by for n, by in enumerate(swing)]
    assert leaked(memory(*grows)) == [MEMORY]
    assert leaked(memory(*(40 + by for by in swing))) == []


def report(samples: Sequence[Held]) -> Report:
    did = {"started": 50, "frozen": 0, "thawed": 0}
    lines = judge(samples)
    return Report(MACHINE, "process", "me", {"stopped": 5}, 10, samples, did, lines, seconds=100.0)


def test_the_report_names_what_leaked() -> None:
    good, bad = report(threads(10, 10)), report(threads(10, 11))
    assert str(good).endswith("Nothing leaked.")
    assert str(bad).endswith("Leaked: threads")
    assert re.search(r"^threads +10 +10 +11 +20 +LEAKED$", str(bad), re.MULTILINE)
    assert re.search(r"^pipes +4 +4 +4 +0$", str(bad), re.MULTILINE)
    assert json.loads(json.dumps(bad.as_json()))["leaked"] == ["threads"]
    assert good.as_json()["leaked"] == []
