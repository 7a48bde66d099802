"""Whatever is written, the answer is a configuration or a ConfigError."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wakeful.config import schema
from wakeful.config.load import ConfigError, Loaded, loads
from wakeful.config.nodes import Entry, Mapping, Node, Scalar, Sequence
from wakeful.config.parse import parse

pytestmark = pytest.mark.no_cover  # traced it takes three times as long, to cover what others do

KEYS = st.sampled_from(
    [
        *schema.TOP,
        *schema.SERVICE,
        *schema.SCALE,
        *schema.QUEUE,
        *schema.READINESS,
        *schema.LOGGING,
        "hello",
        "<<",
    ]
) | st.text(max_size=5)
TEXTS = st.text(max_size=10) | st.sampled_from(
    ["5s", "70%", "256Mi", "500m", ":8080", "127.0.0.1:9001", "a.example", "json", "docker", "1"]
)
PLACES = st.integers(1, 99)
SCALARS = st.builds(Scalar, PLACES, PLACES, TEXTS, st.booleans())


def _mapping(line: int, entries: dict[str, Node]) -> Mapping:
    found = {key: Entry(Scalar(line, 1, key), value) for key, value in entries.items()}
    return Mapping(line, 1, found)


NODES: st.SearchStrategy[Node] = st.recursive(
    SCALARS,
    lambda inner: (
        st.builds(Sequence, PLACES, PLACES, st.lists(inner, max_size=3).map(tuple))
        | st.builds(_mapping, PLACES, st.dictionaries(KEYS, inner, max_size=6))
    ),
    max_leaves=30,
)


def _of(keys: schema.Section, inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    entries = st.dictionaries(st.sampled_from([*keys]), inner, max_size=8)
    return st.builds(_mapping, PLACES, entries) | inner


SERVICES = st.builds(
    _mapping,
    PLACES,
    st.dictionaries(st.sampled_from(["a", "b", "B."]), _of(schema.SERVICE, NODES), max_size=3),
)
FILES = st.builds(
    lambda line, top, services, defaults: _mapping(
        line, {**top, "services": services, "defaults": defaults}
    ),
    PLACES,
    st.dictionaries(st.sampled_from([*schema.TOP]), NODES, max_size=4),
    SERVICES,
    _of(schema.SERVICE, NODES),
)


@given(NODES | FILES)
def test_any_tree_is_parsed_to_a_configuration_or_problems(root: Node) -> None:
    parsed = parse(root, Path("/etc/wakeful"))
    for problem in parsed.problems:
        assert problem.path
        assert len(f"{problem.path}: {problem.message}".splitlines()) == 1
    if not parsed.problems:
        assert parsed.config.services


@given(
    st.text()
    | st.text("abc:-[]{}&*<?|>'\"#%@!~ \n")
    | st.lists(st.tuples(KEYS, TEXTS)).map(
        lambda pairs: "".join(f"{key}: {text}\n" for key, text in pairs)
    )
)
@example("services: &a\n  hello: *a\n")
@example("services:\n  hello: {image: x}\n")
def test_any_text_is_a_configuration_or_a_config_error(text: str) -> None:
    outcome: Loaded | ConfigError
    try:
        outcome = loads(text, Path("/etc/wakeful"), "f")
    except ConfigError as refusal:
        outcome = refusal
    if isinstance(outcome, ConfigError):
        assert outcome.problems
        assert len(str(outcome).splitlines()) == len(outcome.problems)
        assert set(str(outcome).splitlines()) <= set(outcome.explain().splitlines())
