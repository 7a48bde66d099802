from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.harness import Harness, get
from tests.proxy.wire import answering, ok
from wakeful.config.model import Revision, Template
from wakeful.events import Backends
from wakeful.proxy.router import Route, RouteTable, host_name
from wakeful.proxy.server import RouteTo
from wakeful.proxy.traffic import choose


@pytest.mark.parametrize(
    ("host", "name"),
    [
        (b"a.test", b"a.test"),
        (b"A.Test:8080", b"a.test"),
        (b"a.test.", b"a.test"),
        (b"a.test.:80", b"a.test"),
        (b"127.0.0.1:80", b"127.0.0.1"),
        (b"[::1]", b"[::1]"),
        (b"[::1]:80", b"[::1]"),
        (b"[::1", b""),
        (b"", b""),
        (b":80", b""),
    ],
)
def test_a_host_field_names_a_host(host: bytes, name: bytes) -> None:
    assert host_name(host) == name


@given(st.binary(max_size=20))
def test_any_host_field_gives_a_name_that_is_stable(host: bytes) -> None:
    name = host_name(host)
    assert name == name.lower()
    assert len(name) <= len(host)


def test_a_table_answers_in_any_spelling_and_no_other_name() -> None:
    route = Route("hello", ((100, "rev"),))
    table = RouteTable({"a.test": route})
    for host in (b"a.test", b"A.TEST", b"a.test:99", b"a.test."):
        assert table.match(host) is table.match(host) is route
    for host in (b"b.test", b"xa.test", b"a.test.x", b"", b"a.test\xff"):
        assert table.match(host) is None


def test_a_table_with_other_routes_for_some_hosts_keeps_those_of_the_others() -> None:
    before = {host: Route("hello", ((100, "old"),)) for host in ("a.test", "b.test")}
    table = RouteTable(before)
    assert table.match(b"a.test") is before["a.test"]
    after = Route("hello", ((60, "old"), (40, "new")))
    replaced = table.replaced({"a.test": after})
    assert replaced.match(b"a.test") is after
    assert replaced.match(b"b.test") is before["b.test"]
    assert table.match(b"a.test") is before["a.test"]


def test_what_clients_invent_is_not_remembered_without_bound() -> None:
    table = RouteTable({"a.test": Route("hello", ((100, "rev"),))})
    for port in range(10_000):
        assert table.match(b"a.test:%d" % port) is not None
    assert len(table._seen) <= 4096


SHARES = st.lists(st.integers(0, 100), min_size=1, max_size=6).map(
    lambda cuts: [b - a for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 100], strict=True)]
)


@given(SHARES)
def test_a_hundred_rolls_fall_as_the_percents_say(percents: list[int]) -> None:
    shares = [(percent, at) for at, percent in enumerate(percents)]
    chosen = [choose(shares, roll) for roll in range(100)]
    assert [chosen.count(at) for at in range(len(percents))] == percents


def test_percents_that_do_not_sum_to_a_hundred_are_a_bug() -> None:
    with pytest.raises(ValueError, match="sum to 100"):
        choose([(50, "a")], 50)


def test_each_request_falls_to_a_revision_by_its_roll(harness: Harness) -> None:
    plane = harness.plane
    shares = tuple((percent, Revision("a", at, Template())) for at, percent in ((1, 30), (2, 70)))
    harness.call(lambda: plane.route([RouteTo("a", ("a.test",), shares)]))
    for _, revision in shares:
        backend = harness.backend(answering(ok(revision.name.encode())))
        backends = Backends(harness.endpoints(backend))
        harness.call(partial(plane.publish, revision.name, backends))
    rolls = [0, 29, 30, 99]
    plane.randrange = lambda *_: rolls.pop(0)
    client = harness.connect()
    answers = []
    for _ in range(4):
        client.send(get())
        answers.append(client.message().body)
    assert answers == [b"a-00001"] * 2 + [b"a-00002"] * 2
