from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.config.essence import essence, restored
from wakeful.config.model import HostPort, Metric, Scale, Template


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Whatever a field of this type may hold: a field that is added is held to this as well."""
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        return st.builds(kind, **{field.name: values(hints[field.name]) for field in fields(kind)})
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        if arguments[1:] == (...,):
            return st.lists(values(arguments[0]), max_size=2).map(tuple)
        return st.tuples(*map(values, arguments))
    if arguments:
        return st.one_of(*map(values, arguments))
    if kind is type(None):
        return st.none()
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    simple = {
        bool: st.booleans(),
        int: st.integers(),
        float: st.floats(0, 1e9),
        str: st.text("aé ", max_size=3),
        IPv4Network: st.just(IPv4Network("10.1.0.0/16")),
        IPv6Network: st.just(IPv6Network("fd00::/8")),
    }
    return simple[kind]


@given(values(Template))
def test_a_template_comes_back_from_json_as_it_was(template: Template) -> None:
    assert restored(Template, json.loads(json.dumps(essence(template)))) == template


def test_only_what_differs_from_a_default_is_said() -> None:
    assert essence(Template()) == {}
    template = Template(
        upstreams=(HostPort("h", 1),),
        env=(("A", "1"),),
        cpu=2.0,
        scale=Scale(metric=Metric.RPS, target=0.5),
    )
    assert essence(template) == {
        "upstreams": [{"host": "h", "port": 1}],
        "env": [["A", "1"]],
        "cpu": 2,
        "scale": {"metric": "rps", "target": 0.5},
    }


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {"imago": "x"},
        {"image": 1},
        {"port": "80"},
        {"port": True},
        {"cpu": True},
        {"cpu": "1"},
        {"command": "a b"},
        {"command": [1]},
        {"env": [["A"]]},
        {"upstreams": [{"host": "h"}]},
        {"scale": {"metric": "cpu"}},
        {"scale": []},
        {"wake": {"ignore": [{"address": ["10.1.2.3/16"]}]}},
    ],
)
def test_what_is_no_template_is_refused(said: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        restored(Template, said)
