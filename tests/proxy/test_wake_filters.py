"""Requests that are no activity: answered without an instance, passed to one, never counted."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.conftest import Launch
from tests.proxy.harness import Harness, get
from tests.proxy.test_places import Counting
from tests.proxy.wire import Peer, unused_port
from wakeful.config.model import AccessLog, AccessLogFormat, Template, Wake, WakeFilter
from wakeful.events import Endpoint, Load, Outage
from wakeful.proxy.framing import RequestHead
from wakeful.proxy.throttler import Throttler
from wakeful.proxy.wake_filters import WakeFilters, matches

HEALTHZ = WakeFilter(path=("/healthz",), answer=200)
BOT = WakeFilter(user_agent=("*bot*",))


def ignoring(*filters: WakeFilter) -> dict[str, Any]:
    return {"wake": Wake(ignore=filters)}


def head(target: bytes = b"/", method: bytes = b"GET", agent: bytes | None = None) -> RequestHead:
    made = RequestHead(method, target, "1.1")
    if agent is not None:
        made.fields = [b"Accept", b": ", b"bot", b"\r\n", b"User-agent", b": ", agent, b"\r\n"]
    return made


# What a filter matches


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        (b"/healthz", b"/healthz", True),
        (b"/healthz", b"/healthz/", False),
        (b"/healthz", b"/", False),
        (b"/health/*", b"/health/", True),
        (b"/health/*", b"/health/a/b", True),
        (b"/health/*", b"/health", False),
        (b"*.php", b"/a/b.php", True),
        (b"*.php", b"/a/b.php5", False),
        (b"/a*/b", b"/a/b", True),
        (b"/a*/b", b"/a/b/c/b", True),
        (b"/a*a", b"/a", False),  # the two may not share a letter
        (b"*ab*ab*", b"abab", True),
        (b"*ab*ab*", b"aba", False),
        (b"*", b"", True),
        (b"**", b"anything", True),
        (b"a.c", b"abc", False),
    ],
)
def test_a_star_stands_for_any_text_and_nothing_else_does(
    pattern: bytes, value: bytes, fits: bool
) -> None:
    assert matches(pattern.split(b"*"), value) is fits


@given(st.lists(st.text("ab", max_size=3), min_size=1, max_size=5), st.text("ab", max_size=12))
def test_patterns_match_what_the_same_regular_expression_matches(
    parts: list[str], value: str
) -> None:
    expected = re.fullmatch(".*".join(parts), value) is not None
    assert matches([part.encode() for part in parts], value.encode()) is expected


def rule_of(filters: Sequence[WakeFilter], asked: RequestHead, address: str = "192.0.2.1") -> int:
    """The answer of the rule that matches; 0 when none does."""
    rule = WakeFilters(filters).match(asked, lambda _: address)
    return rule.asleep.status if rule else 0


def test_conditions_of_one_filter_hold_together_and_filters_each_on_their_own() -> None:
    both = WakeFilter(path=("/a", "/b"), method=("GET", "HEAD"), answer=204)
    other = WakeFilter(path=("/c",), answer=404)
    assert rule_of([both, other], head(b"/b", b"HEAD")) == 204
    assert rule_of([both, other], head(b"/b", b"POST")) == 0
    assert rule_of([both, other], head(b"/c", b"POST")) == 404
    assert rule_of([both, other], head(b"/d")) == 0


def test_a_path_is_looked_at_without_its_query() -> None:
    assert rule_of([HEALTHZ], head(b"/healthz?from=monitor")) == 200
    assert rule_of([HEALTHZ], head(b"/?/healthz")) == 0


def test_a_user_agent_is_compared_in_any_case_and_no_other_field_is() -> None:
    assert (
        rule_of([WakeFilter(user_agent=("*UptimeRobot*",))], head(agent=b"x uptimerobot/2")) == 503
    )
    assert rule_of([BOT], head(agent=b"curl")) == 0
    assert rule_of([BOT], head()) == 0


def test_the_first_filter_that_matches_gives_the_answer() -> None:
    filters = [WakeFilter(address=(ip_network("10.0.0.0/8"),), answer=204), HEALTHZ]
    assert rule_of(filters, head(b"/healthz"), "10.1.2.3") == 204
    assert rule_of(filters, head(b"/healthz"), "::ffff:10.1.2.3") == 204
    assert rule_of(filters, head(b"/healthz"), "11.1.2.3") == 200
    assert rule_of(filters, head(b"/"), "11.1.2.3") == 0


def test_a_head_is_judged_once_by_the_same_filters_and_anew_by_others() -> None:
    shared, before, after = head(b"/healthz"), WakeFilters([HEALTHZ]), WakeFilters([BOT])
    rule = before.match(shared, lambda _: "")
    assert rule is not None
    shared.target = b"/changed"  # nobody does; it shows who looks again
    assert before.match(shared, lambda _: "") is rule
    assert after.match(shared, lambda _: "") is None
    assert before.match(shared, lambda _: "") is None


# Asleep


def asleep(harness: Harness, throttler: Throttler) -> None:
    """Nobody heard of it, and nothing is held."""
    assert harness.signals.demands == []
    assert harness.call(lambda: harness.plane.samples(harness.clock())) == {}
    assert harness.call(throttler.load) == Load()
    assert throttler.stats.arrived == 0


def test_asleep_a_filter_answers_and_nothing_else_happens(harness: Harness) -> None:
    throttler = harness.service(**ignoring(HEALTHZ, BOT))
    client = harness.get(b"/healthz")
    answer = client.message()
    assert (answer.status, answer.reason) == (200, b"asleep")
    assert answer.get("Retry-After") is None
    assert answer.get("Cache-Control") == b"no-store"
    client.send(get(fields=b"User-Agent: a bot\r\n"))
    answer = client.message()
    assert (answer.status, answer.reason, answer.get("Retry-After")) == (503, b"asleep", b"300")
    asleep(harness, throttler)
    assert throttler.counters.rejected == {"asleep": 2}


def test_the_answer_to_head_is_a_head_and_204_has_not_even_a_length(harness: Harness) -> None:
    harness.service(**ignoring(WakeFilter(method=("HEAD", "OPTIONS"), answer=204), BOT))
    client = harness.connect()
    client.send(get().replace(b"GET", b"OPTIONS"))
    answer = client.message()
    assert (answer.status, answer.get("Content-Length")) == (204, None)
    client.send(get().replace(b"GET", b"HEAD"))
    assert client.message(bodiless=True).status == 204
    client.send(get(fields=b"User-Agent: bot\r\n").replace(b"GET", b"HEAD"))
    assert client.message(bodiless=True).status == 204  # the first filter that matches
    client.send(get(fields=b"User-Agent: bot\r\n"))
    assert client.message().status == 503  # and the connection is still in step


def test_while_an_instance_starts_nothing_waits_for_it_that_is_no_activity(
    harness: Harness,
) -> None:
    throttler = harness.service(**ignoring(HEALTHZ))
    waiting = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting == 1)
    assert harness.get(b"/healthz").message().reason == b"asleep"
    assert len(harness.signals.demands) == 1
    assert throttler.stats.arrived == 1
    harness.publish(harness.endpoints(harness.backend()))
    assert waiting.message().status == 200


def test_a_service_that_cannot_start_is_not_said_to_be_asleep(harness: Harness) -> None:
    outage = Outage("start_failed", "no such image", until=harness.clock() + 30)
    throttler = harness.service(outage=outage, **ignoring(HEALTHZ))
    answer = harness.get(b"/healthz").message()
    assert (answer.status, answer.reason) == (503, b"start_failed")
    assert answer.body == b"no such image\n"
    harness.clock.forward(31)
    assert harness.get(b"/healthz").message().reason == b"asleep"
    asleep(harness, throttler)


def test_a_body_behind_what_is_ignored_is_not_taken_for_a_request(harness: Harness) -> None:
    harness.service(**ignoring(WakeFilter(method=("POST",))))
    client = harness.connect()
    client.send(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 40\r\n\r\n" + get())
    assert client.message().reason == b"asleep"
    assert client.rest() == b""


# Awake


def test_awake_it_is_passed_on_and_is_no_activity(harness: Harness) -> None:
    counting = Counting()
    throttler = harness.service(harness.backend(counting.script), **ignoring(HEALTHZ))
    client = harness.get(b"/healthz")
    harness.wait_for(lambda: counting.now == 1)
    harness.clock.forward(10)
    sample = harness.call(lambda: harness.plane.samples(harness.clock()))["a-00001"]
    assert (sample.concurrency, sample.requests) == (0, 0)
    # But its instance is in use, and whoever takes instances away must know it.
    assert sample.load == Load(active=1, busy=(("i0", 1),), ignored=1)
    assert harness.plane.in_hand() == 1
    counting.release.release()
    assert client.message().body == b"hello"
    harness.wait_for(lambda: harness.plane.in_hand() == 0)
    assert harness.call(throttler.load) == Load()
    harness.call(lambda: harness.plane.samples(harness.clock()))
    assert harness.call(lambda: harness.plane.samples(harness.clock())) == {}
    assert harness.signals.demands == []


def test_what_is_ignored_takes_a_place_like_any_other(harness: Harness) -> None:
    counting = Counting()
    throttler = harness.service(harness.backend(counting.script), concurrency=1, **ignoring(BOT))
    bot = harness.get(fields=b"User-Agent: bot\r\n")
    harness.wait_for(lambda: counting.now == 1)
    other = harness.get()
    harness.wait_for(lambda: throttler.breaker.waiting == 1)
    ((_, load),) = harness.signals.demands
    assert load == Load(active=1, waiting=1, busy=(("i0", 1),), ignored=1)
    counting.release.release(2)
    assert bot.message().status == other.message().status == 200
    assert counting.most == 1


def test_without_room_it_is_answered_at_once_and_asks_for_nothing(harness: Harness) -> None:
    counting = Counting()
    throttler = harness.service(
        harness.backend(counting.script), concurrency=1, **ignoring(HEALTHZ, BOT)
    )
    first = harness.get()
    harness.wait_for(lambda: counting.now == 1)
    answer = harness.get(fields=b"User-Agent: bot\r\n").message()
    assert (answer.status, answer.reason, answer.get("Retry-After")) == (503, b"busy", b"1")
    answer = harness.get(b"/healthz").message()
    assert (answer.status, answer.reason) == (200, b"busy")
    assert harness.signals.demands == []
    assert throttler.stats.arrived == 1
    counting.release.release()
    assert first.message().status == 200


def test_it_goes_elsewhere_when_an_instance_refuses(harness: Harness) -> None:
    dead = unused_port()
    throttler = harness.service(dead, harness.backend(), concurrency=1, **ignoring(HEALTHZ))
    assert [harness.get(b"/healthz").message().status for _ in range(4)] == [200] * 4
    assert throttler.counters.retries >= 1
    assert harness.signals.demands == []
    harness.wait_for(lambda: throttler.ignored == 0)
    assert throttler.stats.arrived == 0


def test_when_no_instance_can_be_reached_it_is_told_so(harness: Harness) -> None:
    throttler = harness.service(unused_port(), concurrency=1, **ignoring(HEALTHZ))
    answer = harness.get(b"/healthz").message()
    assert (answer.status, answer.reason) == (502, b"upstream_unreachable")
    assert harness.signals.demands == []
    assert (throttler.ignored, throttler.breaker.active) == (0, 0)


def test_an_ignored_tunnel_counts_as_use_until_it_ends(harness: Harness) -> None:
    release = threading.Event()

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        release.wait(8)

    throttler = harness.service(harness.backend(script), **ignoring(BOT))
    client = harness.get(fields=b"User-Agent: bot\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
    assert client.head().status == 101
    assert harness.call(throttler.load).ignored == 1
    harness.publish([])
    assert harness.signals.drains == []
    release.set()
    client.close()
    harness.wait_for(lambda: harness.signals.drains == [("a-00001", "i0")])
    assert throttler.ignored == 0


# Who asks


def test_an_address_is_the_clients_as_a_trusted_proxy_says_it(launch: Launch) -> None:
    ours = (ip_network("10.0.0.0/8"),)
    claim = b"X-Forwarded-For: 10.1.1.1\r\n"

    believed = launch(trusted=[ip_network("127.0.0.0/8")])
    believed.service(**ignoring(WakeFilter(address=ours, answer=404)))
    assert believed.get(fields=claim).message().status == 404
    # Two clients behind one proxy may send the same head.
    others = believed.get(fields=claim.replace(b"10.", b"11."))
    throttler = believed.plane.throttlers["a-00001"]
    believed.wait_for(lambda: throttler.breaker.waiting == 1)
    others.close()

    unknown = launch()
    throttler = unknown.service(**ignoring(WakeFilter(address=ours, answer=404)))
    client = unknown.get(fields=claim)
    unknown.wait_for(lambda: throttler.breaker.waiting == 1)
    client.close()


def test_a_known_head_is_ignored_like_a_new_one(harness: Harness) -> None:
    throttler = harness.service(**ignoring(HEALTHZ))
    client = harness.connect()
    for _ in range(5):
        client.send(get(b"/healthz"))
        assert client.message().reason == b"asleep"
    assert throttler.counters.rejected == {"asleep": 5}


def test_the_access_log_says_what_was_ignored(launch: Launch, tmp_path: Path) -> None:
    harness = launch(log=AccessLog(AccessLogFormat.JSON, str(tmp_path / "log")))
    harness.service(harness.backend(), **ignoring(HEALTHZ))
    assert harness.get(b"/healthz").message().status == 200
    assert harness.get(b"/").message().status == 200
    harness.publish([])
    assert harness.get(b"/healthz").message().status == 200
    access = harness.plane.access
    assert access is not None
    harness.call(access.close)
    harness.plane.access = None
    passed, other, answered = map(json.loads, (tmp_path / "log").read_text().splitlines())
    assert (passed["ignored"], passed["instance"]) == (True, "i0")
    assert "ignored" not in other
    assert (answered["ignored"], answered["reason"]) == (True, "asleep")


def test_filters_change_for_a_revision_that_has_requests(harness: Harness) -> None:
    counting = Counting()
    backend = harness.backend(counting.script)
    throttler = harness.service(backend, **ignoring(HEALTHZ))
    before = harness.get(b"/healthz")
    harness.wait_for(lambda: counting.now == 1)
    assert harness.service(backend, **ignoring(BOT)) is throttler
    after = harness.get(b"/healthz")
    harness.wait_for(lambda: counting.now == 2)
    assert (throttler.ignored, throttler.stats.in_hand) == (1, 1)
    harness.service(backend)
    assert throttler.filters is None
    counting.release.release(2)
    assert before.message().status == after.message().status == 200
    harness.wait_for(lambda: (throttler.ignored, throttler.stats.in_hand) == (0, 0))


def test_a_service_without_filters_has_nothing_to_be_held_against(harness: Harness) -> None:
    throttler = harness.service(harness.backend())
    assert throttler.filters is None
    assert Template().wake == Wake()


def test_instances_that_come_and_go_leave_no_count_behind(harness: Harness) -> None:
    counting = Counting()
    throttler = harness.service(harness.backend(counting.script), **ignoring(BOT))
    bot = harness.get(fields=b"User-Agent: bot\r\n")
    harness.wait_for(lambda: counting.now == 1)
    harness.publish([Endpoint("i1", "127.0.0.1", harness.backend().port)])
    assert harness.call(throttler.load) == Load(active=1, ignored=1)
    bot.close()
    harness.wait_for(lambda: harness.signals.drains)
    assert harness.call(throttler.load) == Load()
    counting.release.release()
