from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass, field, fields, replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.config import diff as diffing
from wakeful.config.diff import LIVE, Diff, definition, diff, digest, fixed_changes
from wakeful.config.model import (
    AccessLog,
    AccessLogFormat,
    Aggregation,
    Config,
    Container,
    HostPort,
    Idle,
    Logging,
    Metric,
    Pull,
    Queue,
    Reach,
    Readiness,
    RuntimeKind,
    Scale,
    Service,
    Template,
    TrafficTarget,
    Volume,
    WaitingPage,
    Wake,
    WakeFilter,
    WarmWindow,
)

A = Service("a", Template(image="a:1"))
A2 = replace(A, template=Template(image="a:2"))
B = Service("b", Template(image="b:1"))


def test_nothing_changed_is_an_empty_diff() -> None:
    assert diff({"a": A}, {"a": A}) == Diff()
    assert not diff({"a": A}, {"a": replace(A)})


def test_services_come_and_go() -> None:
    found = diff({"a": A}, {"b": B})
    assert found == Diff(added=("b",), removed=("a",))
    assert found


def test_another_template_needs_a_new_revision_whatever_else_changed() -> None:
    moved = replace(A2, domains=("a.example",))
    assert diff({"a": A, "b": B}, {"a": moved, "b": B}) == Diff(changed_template=("a",))


def test_other_domains_or_traffic_are_only_another_way_to_the_same_instances() -> None:
    named = replace(A, domains=("a.example",))
    split = replace(B, traffic=(TrafficTarget(50), TrafficTarget(50, "b-00001")))
    assert diff({"a": A, "b": B}, {"a": named, "b": split}) == Diff(rerouted=("a", "b"))


@given(*[st.dictionaries(st.sampled_from("abcd"), st.sampled_from([A, A2, B]))] * 2)
def test_every_service_is_in_one_place_of_a_diff(
    old: dict[str, Service], new: dict[str, Service]
) -> None:
    found = diff(old, new)
    names = [getattr(found, each.name) for each in fields(found)]
    names = [name for place in names for name in place]
    assert len(names) == len(set(names))
    same = {name for name in old if name in new and old[name] == new[name]}
    assert set(names) == (set(old) | set(new)) - same


@pytest.mark.parametrize(
    ("changed", "keys"),
    [
        (Config(), ()),
        (Config(domain="example.com", services={"a": A}, directory=Path("/")), ()),
        (Config(listen=HostPort("", 81)), ("listen",)),
        (Config(admin=HostPort("", 9901)), ("admin",)),
        (Config(runtime=RuntimeKind.DOCKER), ("runtime",)),
        (Config(reach=Reach.ADDRESS), ("reach",)),
        (Config(state_dir=Path("/s")), ("state-dir",)),
        (Config(access_log=AccessLog(AccessLogFormat.OFF)), ("access-log",)),
        (Config(simultaneous_starts=4), ("simultaneous-starts",)),
        (
            Config(listen=HostPort("", 81), runtime=RuntimeKind.PROCESS),
            ("listen", "runtime"),
        ),
    ],
)
def test_what_only_a_restart_can_change_is_named(changed: Config, keys: tuple[str, ...]) -> None:
    assert fixed_changes(Config(), changed) == keys


# Digests

RICH = Template(
    image="hello:1",
    command=("a", "b"),
    env=(("A", "1"), ("B", "ü")),
    cpu=0.5,
    memory=2**28,
    queue=Queue(limit=5),
    scale=Scale(metric=Metric.RPS, target=2.5),
)


def test_a_digest_never_changes_between_versions() -> None:
    # On the disks of users. Another value here makes every service start a new
    # revision after an upgrade.
    for template, essence in (
        (Template(image="hello:1"), '[1,{"image":"hello:1"}]'),
        (
            RICH,
            '[1,{"command":["a","b"],"cpu":0.5,"env":[["A","1"],["B","\\u00fc"]],'
            '"image":"hello:1","memory":268435456}]',
        ),
    ):
        assert digest(template) == hashlib.sha256(essence.encode()).hexdigest()


def test_settings_that_no_instance_is_made_from_are_named_once_and_change_no_digest() -> None:
    names = {each.name for each in fields(Template)}
    assert names >= LIVE
    others: dict[str, Any] = {
        "concurrency": 1,
        "min_instances": 1,
        "max_instances": 11,
        "timeout": 1.0,
        "response_start_timeout": 1.0,
        "response_idle_timeout": 1.0,
        "tunnel_drain_timeout": 1.0,
        "tunnel_idle_timeout": 1.0,
        "max_request_body": 1,
        "queue": Queue(limit=5),
        "scale": Scale(window=30.0),
        "idle": Idle(freeze_after=1.0),
        "stop_grace": 1.0,
        "schedule": (WarmWindow("0 8 * * *", "0 9 * * *"),),
        "waiting_page": WaitingPage(enabled=True),
        "cold_start_headers": False,
        "wake": Wake((WakeFilter(address=(ip_network("10.0.0.0/8"),)),)),
    }
    assert others.keys() == LIVE
    for name, other in others.items():
        assert digest(replace(RICH, **{name: other})) == digest(RICH)
        retuned = replace(A, template=replace(A.template, **{name: other}))
        assert diff({"a": A}, {"a": retuned}) == Diff(retuned=("a",))


def test_a_default_that_changes_comes_with_a_new_epoch() -> None:
    """Digests leave defaults out: with the same epoch, old and new defaults would look alike."""
    defaults: dict[int, dict[str, dict[str, object]]] = {
        1: {
            "Template": {
                "port": 8080,
            },
            "Readiness": {"timeout": 1.0},
            "Container": {
                "init": True,
                "no_new_privileges": True,
                "pids_limit": 2048,
                "read_only": False,
            },
            "Logging": {"driver": "json-file"},
        }
    }
    for kind in (Template, Readiness, Container, Logging):
        said = defaults[diffing.EPOCH][kind.__name__]
        now = {f.name: f.default for f in fields(kind) if isinstance(f.default, int | float | str)}
        assert {name: now[name] for name in said} == said  # new fields may be added


def test_a_digest_is_the_same_in_another_process() -> None:
    program = (
        "from wakeful.config.model import *; from wakeful.config.diff import digest;"
        f"print(digest({definition(RICH)!r}))"
    )
    for member in (Metric.CONCURRENCY, Aggregation.LINEAR, Pull.MISSING):
        program = program.replace(repr(member), str(type(member).__name__) + f"('{member}')")
    for seed in ("0", "1"):
        output = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert output.strip() == digest(RICH)


def test_equal_numbers_have_equal_digests() -> None:
    assert digest(Template(image="x", cpu=2)) == digest(Template(image="x", cpu=2.0))


def test_a_later_field_that_is_not_used_leaves_digests_alone() -> None:
    @dataclass(frozen=True, slots=True)
    class LaterReadiness(Readiness):
        header: str = ""

    @dataclass(frozen=True, slots=True)
    class LaterTemplate(Template):
        readiness: LaterReadiness = field(default_factory=LaterReadiness)
        volumes: tuple[str, ...] = ()

    assert digest(LaterTemplate(image="hello:1")) == digest(Template(image="hello:1"))
    used = LaterTemplate(image="hello:1", volumes=("/data",))
    assert digest(used) != digest(Template(image="hello:1"))
    nested = LaterTemplate(image="hello:1", readiness=LaterReadiness(path="/up"))
    assert digest(nested) == digest(Template(image="hello:1", readiness=Readiness(path="/up")))


TEMPLATES = st.builds(
    Template,
    image=st.none() | st.sampled_from(["a", "b"]),
    command=st.lists(st.sampled_from(["a", "b", "a b"]), max_size=2).map(tuple),
    env=st.lists(st.tuples(st.just("A"), st.sampled_from(["", "1"])), max_size=1).map(tuple),
    concurrency=st.integers(79, 81),
    cpu=st.none() | st.sampled_from([0.5, 1.0]),
    scale=st.builds(Scale, target=st.none() | st.just(1.0), initial=st.integers(0, 1)),
    readiness=st.builds(Readiness, path=st.none() | st.just("/")),
    container=st.builds(
        Container,
        user=st.none() | st.just("1"),
        volumes=st.lists(st.builds(Volume, st.just("v"), st.just("/v"), st.booleans())).map(tuple),
        logging=st.builds(Logging, options=st.sampled_from([(), (("max-size", "1m"),)])),
    ),
)


@given(TEMPLATES, TEMPLATES)
def test_two_templates_have_one_digest_exactly_when_they_define_the_same(
    one: Template, other: Template
) -> None:
    assert (digest(one) == digest(other)) == (definition(one) == definition(other))
