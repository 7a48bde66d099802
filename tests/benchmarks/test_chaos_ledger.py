"""The judge of the chaos: what has to be in its ledger, and what may be excused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from benchmarks.chaos_ledger import Ledger, Verdict, judge
from benchmarks.chaos_left import Forgotten
from benchmarks.chaos_record import Cause, Note, Outcome, Sent, Trouble
from benchmarks.chaos_report import Made, report
from benchmarks.chaos_schedule import Event

LIMITS = {"hello": 2, "narrow": 1}

ANSWERED = Sent("hello-1", "hello", "GET", 10.0, 11.0, Outcome.ANSWERED)
CUT = replace(ANSWERED, outcome=Outcome.CUT)
FAILED = replace(ANSWERED, outcome=Outcome.REFUSED, reason="upstream_failed")


def notes(*lines: str) -> list[Note]:
    """Lines such as "10.1 i1 begun hello-1", of instances of hello."""
    words = (line.split(" ") for line in lines)
    return [Note(float(at), "hello", instance, what, name) for at, instance, what, name in words]


def ledger(
    *sent: Sent,
    noted: Sequence[Note] = (),
    troubles: Sequence[Trouble] = (),
    left: Sequence[str] = (),
    forgotten: Sequence[str] = (),
) -> Ledger:
    return judge(sent, noted, troubles, LIMITS, ["narrow"], left, forgotten)


def verdict(sent: Sent, *troubles: Trouble, noted: Sequence[Note] = ()) -> Verdict:
    (found,) = ledger(sent, noted=noted, troubles=troubles).verdicts[sent.service]
    return found


BEGUN = notes("10.1 i1 seen hello-1", "10.1 i1 begun hello-1")
KILL = Trouble(Cause.KILLED, 10.5, 10.6, "hello", "i1")


def test_what_is_answered_is_no_entry_among_what_has_to_be_zero() -> None:
    found = ledger(
        ANSWERED, noted=[*BEGUN, *notes("10.9 i1 ended hello-1", "10.9 i1 left hello-1")]
    )
    assert found.verdicts == {"hello": {Verdict.ANSWERED: 1}}
    assert found.clean


@pytest.mark.parametrize("outcome", [Outcome.CUT, Outcome.UNCONNECTED, Outcome.WRONG, Outcome.TOLD])
def test_a_request_without_its_answer_is_lost(outcome: Outcome) -> None:
    found = ledger(replace(ANSWERED, outcome=outcome), noted=BEGUN)
    assert found.verdicts == {"hello": {Verdict.LOST: 1}}
    assert not found.clean
    (line,) = found.lost
    assert "hello-1" in line
    assert "begun by i1 at 10.100" in line


def test_a_wrong_answer_is_lost_whatever_was_killed() -> None:
    wrong = replace(ANSWERED, outcome=Outcome.WRONG)
    crash = Trouble(Cause.CRASHED, 10.0, 12.0)
    assert verdict(wrong, KILL, crash, noted=BEGUN) is Verdict.LOST


# Inside an instance that was killed


@pytest.mark.parametrize("sent", [CUT, FAILED])
def test_what_was_in_an_instance_when_that_was_killed_is_excused(sent: Sent) -> None:
    assert verdict(sent, KILL, noted=BEGUN) is Verdict.IN_INSTANCE


def test_what_was_in_another_instance_is_not_excused() -> None:
    other = replace(KILL, instance="i2")
    assert verdict(CUT, other, noted=BEGUN) is Verdict.LOST


def test_what_failed_before_the_kill_is_not_excused() -> None:
    late = replace(KILL, began=11.5, ended=11.6)
    assert verdict(CUT, late, noted=BEGUN) is Verdict.LOST


def test_what_began_after_the_kill_is_not_excused() -> None:
    early = replace(KILL, began=9.0, ended=9.1)
    assert verdict(CUT, early, noted=BEGUN) is Verdict.LOST


def test_an_answer_that_had_left_before_the_kill_is_not_excused() -> None:
    noted = [*BEGUN, *notes("10.3 i1 ended hello-1", "10.3 i1 left hello-1")]
    assert verdict(CUT, KILL, noted=noted) is Verdict.LOST


def test_an_answer_that_left_into_a_network_that_was_gone_is_excused() -> None:
    noted = [*BEGUN, *notes("10.8 i1 ended hello-1", "10.8 i1 left hello-1")]
    assert verdict(FAILED, KILL, noted=noted) is Verdict.IN_INSTANCE


def test_an_engine_that_ends_all_excuses_those_instances_that_were_not_heard_of_again() -> None:
    all_of_them = replace(KILL, service="", instance="")
    assert verdict(CUT, all_of_them, noted=BEGUN) is Verdict.IN_INSTANCE
    alive = [*BEGUN, *notes("13.0 i1 begun hello-2")]
    assert verdict(CUT, all_of_them, noted=alive) is Verdict.LOST


def test_what_an_instance_had_not_read_must_be_repeated_where_it_may_be() -> None:
    assert verdict(FAILED, KILL) is Verdict.LOST
    assert verdict(replace(FAILED, method="POST"), KILL) is Verdict.IN_INSTANCE
    elsewhere = replace(KILL, service="other")
    assert verdict(replace(FAILED, method="POST"), elsewhere) is Verdict.LOST
    long_ago = replace(KILL, began=5.0, ended=5.1)
    assert verdict(replace(FAILED, method="POST"), long_ago) is Verdict.LOST


def test_what_wakeful_did_not_take_was_in_no_instance() -> None:
    unconnected = replace(ANSWERED, method="POST", outcome=Outcome.UNCONNECTED)
    assert verdict(unconnected, KILL) is Verdict.LOST


def test_what_was_seen_and_not_read_by_a_killed_one_is_excused() -> None:
    """It may have been read in that very moment."""
    assert verdict(FAILED, KILL, noted=notes("10.1 i1 seen hello-1")) is Verdict.IN_INSTANCE


def test_what_is_in_one_that_is_paused_for_good_is_excused_and_what_comes_later_is_not() -> None:
    pause = replace(KILL, cause=Cause.STOPPED, began=10.4, ended=10.5)
    late = replace(FAILED, finished=30.0, reason="response_timeout")
    assert verdict(late, pause, noted=BEGUN) is Verdict.IN_INSTANCE
    assert verdict(late, pause) is Verdict.IN_INSTANCE  # in its socket, unread
    thawed = notes("40 i1 seen hello-1", "40 i1 begun hello-1", "40 i1 cut hello-1")
    assert verdict(late, pause, noted=thawed) is Verdict.IN_INSTANCE
    answered = [*BEGUN, *notes("10.3 i1 ended hello-1", "10.3 i1 left hello-1")]
    assert verdict(late, pause, noted=answered) is Verdict.LOST
    after = replace(late, began=14.0)
    assert verdict(after, pause, noted=thawed) is Verdict.LOST
    assert verdict(after, pause) is Verdict.LOST


# wakeful itself


@pytest.mark.parametrize("outcome", [Outcome.CUT, Outcome.UNCONNECTED])
def test_what_was_in_wakeful_when_that_was_killed_is_excused(outcome: Outcome) -> None:
    sent = replace(ANSWERED, outcome=outcome)
    assert verdict(sent, Trouble(Cause.CRASHED, 10.5, 12.0), noted=BEGUN) is Verdict.IN_WAKEFUL
    assert verdict(sent, Trouble(Cause.CRASHED, 5.0, 6.0), noted=BEGUN) is Verdict.LOST
    assert verdict(sent, Trouble(Cause.CRASHED, 11.5, 12.0), noted=BEGUN) is Verdict.LOST


def test_wakeful_that_ends_in_good_order_answers_what_it_has_sent_on() -> None:
    restart = Trouble(Cause.RESTARTED, 10.5, 12.0)
    assert verdict(CUT, restart, noted=BEGUN) is Verdict.LOST
    assert verdict(CUT, restart) is Verdict.AWAY
    assert verdict(replace(CUT, outcome=Outcome.UNCONNECTED), restart) is Verdict.AWAY


@pytest.mark.parametrize("cause", [Cause.DEPLOYED, Cause.RESTARTED])
def test_a_websocket_is_told_to_go_when_there_is_a_reason(cause: Cause) -> None:
    told = replace(ANSWERED, outcome=Outcome.TOLD)
    assert verdict(told, Trouble(cause, 9.0, 30.0, "hello")) is Verdict.TOLD
    assert verdict(told, Trouble(cause, 9.0, 30.0, "other")) is Verdict.LOST
    assert verdict(told) is Verdict.LOST


# Refusals


def test_only_what_is_filled_on_purpose_may_be_full() -> None:
    full = replace(FAILED, reason="queue_full")
    assert verdict(replace(full, service="narrow")) is Verdict.REFUSED
    assert verdict(full) is Verdict.LOST
    assert ledger(replace(full, service="narrow")).refusals == {"queue_full": 1}


@pytest.mark.parametrize("cause", [Cause.ENGINE, Cause.KILLED, Cause.STOPPED])
def test_a_start_may_fail_when_it_is_kept_from_starting(cause: Cause) -> None:
    failed = replace(FAILED, reason="start_failed")
    assert verdict(failed, Trouble(cause, 5.0, 6.0)) is Verdict.REFUSED
    assert verdict(failed, Trouble(cause, -90.0, -80.0)) is Verdict.LOST
    assert verdict(failed, Trouble(cause, 5.0, 6.0, "other")) is Verdict.LOST
    assert verdict(failed) is Verdict.LOST


def test_nothing_can_be_reached_only_while_the_engine_has_ended_everything() -> None:
    unreachable = replace(FAILED, reason="upstream_unreachable")
    engine, killed = Trouble(Cause.ENGINE, 9.0, 12.0), Trouble(Cause.KILLED, 9.0, 12.0)
    assert verdict(unreachable, engine, killed) is Verdict.REFUSED
    assert verdict(unreachable, engine) is Verdict.LOST
    assert verdict(unreachable, KILL) is Verdict.LOST


# Sent twice


def test_a_request_that_two_instances_began_was_sent_twice() -> None:
    noted = [*BEGUN, *notes("10.6 i2 begun hello-1")]
    found = ledger(ANSWERED, noted=noted, troubles=[KILL])
    (line,) = found.twice
    assert "begun by i2 at 10.600" in line
    assert not found.clean


def test_one_that_began_it_twice_is_no_better() -> None:
    assert len(ledger(ANSWERED, noted=[*BEGUN, *notes("10.6 i1 begun hello-1")]).twice) == 1


def test_one_that_only_saw_it_was_sent_nothing_that_counts() -> None:
    noted = notes("10.1 i1 seen hello-1", "10.6 i2 seen hello-1", "10.6 i2 begun hello-1")
    assert ledger(ANSWERED, noted=noted).clean


# Over the limit


def in_one(*lines: str) -> list[Note]:
    return notes(*(line.replace(" ", " i1 ", 1) for line in lines))


def test_more_at_once_in_one_instance_than_its_limit_is_found() -> None:
    noted = in_one("1 begun a", "2 begun b", "3 begun c", "4 ended a", "5 ended b", "6 ended c")
    found = ledger(noted=noted)
    assert found.over == ["i1 of hello: 3 at 3.000, limit 2"]
    assert not found.clean


def test_one_after_the_other_and_in_several_instances_is_within_the_limit() -> None:
    noted = in_one("1 begun a", "2 begun b", "3 ended a", "3 begun c", "4 cut b", "5 begun d")
    noted += notes("1 i2 begun e", "1 i2 begun f")
    assert ledger(noted=noted).clean


def test_what_wakeful_gave_up_or_died_with_has_left_the_count() -> None:
    noted = in_one("10 begun a", "10.5 begun b", "14 begun c")
    given_up = Sent("a", "hello", "GET", 9.0, 13.0, Outcome.REFUSED, "response_timeout")
    pause = Trouble(Cause.STOPPED, 10.0, 10.6, "hello", "i1")
    assert ledger(given_up, noted=noted, troubles=[pause]).clean
    assert ledger(noted=noted, troubles=[Trouble(Cause.CRASHED, 12.0, 13.0)]).clean
    assert not ledger(noted=noted, troubles=[Trouble(Cause.CRASHED, 15.0, 16.0)]).clean
    assert not ledger(replace(given_up, outcome=Outcome.ANSWERED), noted=noted).clean


def test_what_is_read_after_it_was_given_up_does_not_count() -> None:
    noted = in_one("20 begun b", "20.1 begun c", "20.2 begun a", "20.3 cut a")
    given_up = Sent("a", "hello", "GET", 9.0, 13.0, Outcome.REFUSED, "response_timeout")
    pause = Trouble(Cause.STOPPED, 9.0, 9.1, "hello", "i1")
    assert ledger(given_up, noted=noted, troubles=[pause]).over == []


# Instances that the engine has forgotten


@pytest.mark.parametrize("outcome", [Outcome.CUT, Outcome.WRONG, Outcome.REFUSED])
def test_what_came_to_a_forgotten_instance_is_counted_apart(outcome: Outcome) -> None:
    astray = replace(ANSWERED, outcome=outcome)
    found = ledger(astray, noted=BEGUN, forgotten=["i1"])
    assert found.verdicts == {"hello": {Verdict.ASTRAY: 1}}
    assert found.clean
    assert ledger(astray, noted=BEGUN, forgotten=["i2"]).lost


def test_a_forgotten_instance_has_no_limit_and_excuses_no_other() -> None:
    noted = in_one("1 begun a", "2 begun b", "3 begun c")
    assert ledger(noted=noted, forgotten=["i1"]).clean
    assert ledger(noted=noted, forgotten=["i2"]).over
    twice = [*BEGUN, *notes("10.2 i2 begun hello-1", "10.3 i3 begun hello-1")]
    assert len(ledger(ANSWERED, noted=twice, forgotten=["i1"]).twice) == 1
    assert ledger(ANSWERED, noted=twice, forgotten=["i1", "i2"]).clean


# What is left, and how it is all printed


def test_what_is_left_at_the_end_is_found() -> None:
    found = ledger(ANSWERED, left=["container x"])
    assert found.left == ["container x"]
    assert not found.clean


def test_the_report_shows_every_figure_and_what_is_behind_those_that_should_be_zero() -> None:
    full = replace(FAILED, id="narrow-1", service="narrow", reason="queue_full")
    noted = [*BEGUN, *notes("10.6 i2 begun hello-1")]
    text = report(
        Made(7, 30.0, {Event.KILL: 3}, {Event.KILL: 1}, [Forgotten("sleep 9", "i9")]),
        ledger(CUT, full, noted=noted, left=["network n"]),
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "hello 1 0 0 0 0 0 0 0 1" in lines
    assert "narrow 1 0 1 0 0 0 0 0 0" in lines
    assert "all 2 0 1 0 0 0 0 0 1" in lines
    assert "refused: 1 queue_full" in lines
    assert "a busy container is killed 3 1" in lines
    assert "processes in containers that the engine has forgotten: 1" in lines
    assert "requests lost, other than inside a killed process 1" in lines
    assert "requests sent twice 1" in lines
    assert "instances over their limit 0" in lines
    assert "containers, sandboxes, networks, processes left 1" in lines
    assert "network n" in lines
