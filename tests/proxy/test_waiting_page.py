"""The page for browsers while a service starts: for whom, with what, and what it asks for."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.proxy.harness import Harness, get, old
from tests.proxy.test_places import Counting
from tests.proxy.wire import Message
from wakeful.config.model import Queue, WaitingPage, Wake, WakeFilter
from wakeful.events import Load, Outage
from wakeful.proxy import waiting_page
from wakeful.proxy.framing import RequestHead, request_head

# What browsers send for a link that was followed, less what is of no interest.
CHROMIUM = (
    b"Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
)
OLD = b"Accept: text/html, application/xhtml+xml, */*\r\n"  # no Sec-Fetch-*


def asked(fields: bytes, method: bytes = b"GET") -> RequestHead:
    headers = [line.split(b": ", 1) for line in fields.split(b"\r\n") if line]
    pairs = [(b"Host", b"a.test"), *((name, value) for name, value in headers)]
    return request_head(method, b"/", "1.1", pairs)


@pytest.mark.parametrize("fields", [CHROMIUM, OLD, b"accept: a/b, TEXT/HTML;q=0.1\r\n"])
def test_a_browser_that_follows_a_link_is_shown_the_page(fields: bytes) -> None:
    assert waiting_page.navigates(asked(fields))
    assert waiting_page.navigates(asked(fields + b"Accept: image/png\r\n"))


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        (b"", b"GET"),
        (b"Accept: */*\r\n", b"GET"),  # curl, fetch()
        (b"Accept: application/json\r\n", b"GET"),
        (b"Accept: text/html;q=0, application/json\r\n", b"GET"),
        (b"Accept: text/html; q=0.00\r\n", b"GET"),
        (b"Accept: text/htmlx, xtext/html\r\n", b"GET"),
        (b"Accept-Language: text/html\r\n", b"GET"),
        (CHROMIUM.replace(b"navigate", b"cors"), b"GET"),  # a script that asks for HTML
        (CHROMIUM.replace(b"navigate", b"no-cors"), b"GET"),
        (CHROMIUM, b"POST"),  # a form: it must reach the application
        (CHROMIUM, b"HEAD"),
        (CHROMIUM + b"Content-Length: 2\r\n", b"GET"),
        (CHROMIUM + b"Content-Length: 0\r\n", b"GET"),
        (CHROMIUM + b"Transfer-Encoding: chunked\r\n", b"GET"),
        (CHROMIUM + b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"GET"),
    ],
)
def test_whoever_would_take_the_page_for_the_answer_is_not(fields: bytes, method: bytes) -> None:
    assert not waiting_page.navigates(asked(fields, method))


class Page(HTMLParser):
    """What a page says of itself, and what it would load or run."""

    LOADS = frozenset(("script", "img", "iframe", "object", "embed", "audio", "video"))

    def __init__(self, text: str) -> None:
        super().__init__()
        self.title, self.text, self._in = "", "", ""
        self.refresh: list[str] = []
        self.loads: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self._in = tag
        if tag == "meta" and said.get("http-equiv") == "refresh":
            self.refresh.append(said["content"])
        self.loads += [
            said[name]
            for name in ("src", "href")
            if not said.get(name, "data:").startswith("data:")
        ]
        self.loads += [tag] if tag in self.LOADS else []

    def handle_endtag(self, tag: str) -> None:
        self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in == "title":
            self.title += data
        elif self._in in ("h1", "p"):
            self.text += data + "\n"


def page_of(answer: Message) -> Page:
    assert answer.get("Content-Type") == b"text/html; charset=utf-8"
    assert answer.get("Cache-Control") == b"no-store"
    policy = answer.get("Content-Security-Policy")
    assert policy == b"default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return Page(answer.body.decode())


def test_a_browser_is_answered_at_once_and_the_service_is_woken(harness: Harness) -> None:
    throttler = harness.service(waiting_page=WaitingPage(True))
    client = harness.get(fields=CHROMIUM)
    answer = client.message()
    assert (answer.status, answer.reason) == (503, b"starting")
    assert answer.get("Retry-After") == b"2"
    page = page_of(answer)
    assert page.title == "a is starting"
    assert page.refresh == ["2"]
    assert page.loads == []
    # Some browsers replace the body of an error that is shorter with a page of theirs.
    assert len(answer.body) > 512

    assert harness.signals.demands == [("a-00001", Load(waiting=1))]
    assert harness.call(throttler.load) == Load()
    assert throttler.counters.rejected == {"starting": 1}
    sample = harness.call(lambda: harness.plane.samples(harness.clock()))["a-00001"]
    assert (sample.requests, sample.load) == (1, Load())

    harness.publish(harness.endpoints(harness.backend()))
    client.send(get(fields=CHROMIUM))
    assert client.message().body == b"hello"


def test_the_demand_of_a_page_comes_on_top_of_who_waits(harness: Harness) -> None:
    throttler = harness.service(waiting_page=WaitingPage(True), queue=Queue(limit=1))
    held = harness.get(fields=b"Accept: */*\r\n")
    harness.wait_for(lambda: throttler.breaker.waiting == 1)
    # The queue is full, but who reads a page needs no place in it.
    assert harness.get(fields=CHROMIUM).message().reason == b"starting"
    assert [load.waiting for _, load in harness.signals.demands] == [1, 2]
    harness.publish(harness.endpoints(harness.backend()))
    assert held.message().status == 200


def test_everybody_else_is_held(harness: Harness) -> None:
    throttler = harness.service(waiting_page=WaitingPage(True))
    kinds = (CHROMIUM.replace(b"navigate", b"cors"), b"Accept: */*\r\n", b"")
    clients = [harness.get(fields=fields) for fields in kinds]
    clients.append(harness.connect())
    clients[-1].send(get(fields=CHROMIUM).replace(b"GET", b"POST"))
    harness.wait_for(lambda: throttler.breaker.waiting == 4)
    harness.publish(harness.endpoints(harness.backend()))
    assert [client.message().status for client in clients] == [200] * 4


def test_without_the_page_a_browser_is_held_too(harness: Harness) -> None:
    throttler = harness.service()
    client = harness.get(fields=CHROMIUM)
    harness.wait_for(lambda: throttler.breaker.waiting == 1)
    harness.publish(harness.endpoints(harness.backend()))
    assert client.message().status == 200


def test_with_an_instance_a_browser_waits_for_room_like_everybody(harness: Harness) -> None:
    counting = Counting()
    throttler = harness.service(
        harness.backend(counting.script), concurrency=1, waiting_page=WaitingPage(True)
    )
    clients = [harness.get(fields=CHROMIUM) for _ in range(2)]
    harness.wait_for(lambda: throttler.breaker.waiting == 1)
    counting.release.release(2)
    assert [client.message().status for client in clients] == [200] * 2


def test_a_start_that_failed_is_said_with_its_reason_and_the_next_try(harness: Harness) -> None:
    outage = Outage("start_failed", 'image "<b>" not found', until=harness.clock() + 30)
    throttler = harness.service(outage=outage, waiting_page=WaitingPage(True))
    answer = harness.get(fields=CHROMIUM).message()
    assert (answer.status, answer.reason) == (503, b"start_failed")
    assert answer.get("Retry-After") == b"30"
    page = page_of(answer)
    assert page.refresh == ["30"]
    assert page.title == "a could not be started"
    assert 'image "<b>" not found. The next try is in 30 s' in page.text
    assert b"<b>" not in answer.body
    assert harness.signals.demands == []

    harness.clock.forward(31)
    assert harness.get(fields=CHROMIUM).message().reason == b"starting"
    assert len(harness.signals.demands) == 1
    assert throttler.stats.in_hand == 0


def test_a_program_is_told_of_a_failed_start_in_plain_text(harness: Harness) -> None:
    outage = Outage("start_failed", "no", until=harness.clock() + 30)
    harness.service(outage=outage, waiting_page=WaitingPage(True))
    answer = harness.get().message()
    assert (answer.get("Content-Type"), answer.body) == (b"text/plain; charset=utf-8", b"no\n")


def test_a_page_is_never_sooner_back_than_it_was_told(harness: Harness) -> None:
    outage = Outage("start_failed", "no", until=harness.clock() + 1)
    harness.service(outage=outage, waiting_page=WaitingPage(True, refresh=5.0))
    answer = harness.get(fields=CHROMIUM).message()
    assert answer.get("Retry-After") == b"5"
    assert page_of(answer).refresh == ["5"]


def test_the_title_is_the_operators_and_never_markup(harness: Harness) -> None:
    title = '<script>alert("{1}")</script>'
    harness.service(waiting_page=WaitingPage(True, title=title, refresh=1.0))
    page = page_of(harness.get(fields=CHROMIUM).message())
    assert (page.title, page.refresh, page.loads) == (title, ["1"], [])


def test_what_does_not_wake_a_service_is_not_shown_that_it_starts(harness: Harness) -> None:
    wake: dict[str, Any] = {"wake": Wake((WakeFilter(user_agent=("*bot*",)),))}
    harness.service(waiting_page=WaitingPage(True), **wake)
    answer = harness.get(fields=CHROMIUM + b"User-Agent: bot\r\n").message()
    assert answer.reason == b"asleep"
    assert harness.signals.demands == []


def test_the_connection_is_in_step_behind_a_page(harness: Harness) -> None:
    harness.service(waiting_page=WaitingPage(True))
    client = harness.connect()
    client.send(get(fields=CHROMIUM) * 3)
    assert [client.message().reason for _ in range(3)] == [b"starting"] * 3
    client.send(old(get(fields=CHROMIUM)))
    answer = client.message()
    assert (answer.reason, answer.get("Connection")) == (b"starting", b"close")
    assert re.search(rb"</html>\n\Z", answer.body)
