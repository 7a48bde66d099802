from __future__ import annotations

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from wakeful.config import nodes
from wakeful.config.nodes import Mapping, Node, Scalar, Sequence, compose, locate, position


@pytest.fixture(autouse=True, params=["C", "pure"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both parsers PyYAML may have must give the same tree and the same places."""
    if request.param == "pure":
        monkeypatch.setattr(nodes, "_LOADER", yaml.SafeLoader)
    else:
        assert nodes._LOADER is yaml.CSafeLoader


def plain(node: Node | None) -> object:
    match node:
        case Scalar(text=text):
            return text
        case Sequence(items=items):
            return [plain(item) for item in items]
        case Mapping(entries=entries):
            return {key: plain(entry.value) for key, entry in entries.items()}
        case None:
            return None


def sound(text: str) -> object:
    root, problems = compose(text)
    assert problems == []
    return plain(root)


def faults(text: str) -> list[str]:
    return [f"{p.line}:{p.column} {p.path}: {p.message}" for p in compose(text)[1]]


def test_every_scalar_keeps_the_text_that_was_written() -> None:
    text = "[NO, 1:30, 1.10, 0777, null, ~, yes, 2024-01-01, 1_000, .inf, 0x1F, 'q', \"d\", '']"
    assert sound(text) == [
        *["NO", "1:30", "1.10", "0777", "null", "~", "yes", "2024-01-01", "1_000", ".inf"],
        *["0x1F", "q", "d", ""],
    ]


def test_only_a_value_that_is_not_written_at_all_is_empty() -> None:
    root, _ = compose("a:\nb: ''\nc: ~\nd: &x\n")
    assert isinstance(root, Mapping)
    empty = {k: isinstance(e.value, Scalar) and e.value.empty for k, e in root.entries.items()}
    assert empty == {"a": True, "b": False, "c": False, "d": True}


def test_lines_and_columns_count_from_one_and_in_characters() -> None:
    root, _ = compose("# c\nä: é\nb:\n  - x\n  - {k: v}\n")
    assert isinstance(root, Mapping)
    assert (root.line, root.column) == (2, 1)
    assert (root.entries["ä"].value.line, root.entries["ä"].value.column) == (2, 4)
    items = root.entries["b"].value
    assert isinstance(items, Sequence)
    assert [(i.line, i.column) for i in items.items] == [(4, 5), (5, 5)]


def test_a_byte_order_mark_does_not_move_the_first_line() -> None:
    root, problems = compose("\ufeffa: 1")
    assert problems == []
    assert isinstance(root, Mapping)
    assert root.entries["a"].value.column == 4


def test_nothing_is_neither_a_tree_nor_a_problem() -> None:
    assert compose("") == (None, [])
    assert compose("# only a comment\n") == (None, [])


def test_a_duplicate_key_is_refused_with_the_line_of_the_first() -> None:
    assert faults("a: 1\nb:\n  c: 1\n  'c': 2\na: 3\n") == [
        "4:3 b.c: duplicate key; it is first given on line 3",
        "5:1 a: duplicate key; it is first given on line 1",
    ]
    assert faults("x: &x {a: 1}\ny:\n  <<: *x\n  <<: *x\n") == [
        "4:3 y.'<<': duplicate key; it is first given on line 3"
    ]


def test_a_merge_gives_what_is_not_said_and_the_earlier_source_wins() -> None:
    text = (
        "one: &one {a: 1, b: 1}\n"
        "two: &two {b: 2, c: 2}\n"
        "first:\n  b: own\n  <<: *one\n"
        "second:\n  <<: [*one, *two]\n  c: own\n"
        "third: {<<: {d: 4}}\n"
    )
    tree = sound(text)
    assert isinstance(tree, dict)
    assert tree["first"] == {"b": "own", "a": "1"}
    assert tree["second"] == {"c": "own", "a": "1", "b": "1"}
    assert tree["third"] == {"d": "4"}


def test_what_is_merged_keeps_the_place_where_it_was_written() -> None:
    root, _ = compose("one: &one {a: 1}\ntwo:\n  <<: *one\n")
    assert root is not None
    place, found = locate(root, "two.a")
    assert (place.line, place.column, found) == (1, 15, True)


def test_only_mappings_can_be_merged() -> None:
    assert faults("a:\n  <<: 5\nb:\n  <<: [{c: 1}, [d]]\n") == [
        "2:7 a: << takes a mapping, or a list of them",
        "4:16 b: << takes a mapping, or a list of them",
    ]


def test_a_quoted_merge_key_is_an_ordinary_key() -> None:
    assert sound("'<<': 1") == {"<<": "1"}


def test_an_alias_is_what_it_refers_to() -> None:
    assert sound("a: &x [1, &y 2]\nb: *x\nc: {*y : d}\n") == {
        "a": ["1", "2"],
        "b": ["1", "2"],
        "c": {"2": "d"},
    }


def test_an_alias_inside_of_what_it_refers_to_is_refused() -> None:
    assert faults("a: &x\n  - b: *x\n") == ["2:8 a[0].b: *x stands inside of what it refers to"]


def test_an_alias_of_nothing_is_refused() -> None:
    assert faults("a: *x\n") == ["1:4 a: nothing above is marked &x"]


def test_aliases_that_multiply_are_refused_before_they_do() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert faults("\n".join(lines)) == ["5:45 a4[7]: aliases stand for more than 100000 values"]


def test_a_thousand_uses_of_one_anchor_are_fine() -> None:
    text = "x: &x {a: 1, b: 2, c: 3}\ny:\n" + "".join(f"  s{i}: {{<<: *x}}\n" for i in range(1000))
    tree = sound(text)
    assert isinstance(tree, dict)
    assert tree["y"]["s999"] == {"a": "1", "b": "2", "c": "3"}


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_nesting_without_end_is_refused_and_does_not_end_the_process(opening: str) -> None:
    [fault] = faults(opening * 100_000)
    assert fault.endswith("nested deeper than 64 levels")


def test_a_key_must_be_a_scalar() -> None:
    assert faults("? [a]\n: 1\nb: 2\n") == ["1:3 file: a key must be a single word"]


def test_tags_are_refused_except_the_one_that_changes_nothing() -> None:
    assert sound("a: !!str 1\nb: ! 2\n") == {"a": "1", "b": "2"}
    assert faults("a: !!int '1'\nb: !mine {c: 1}\nd: !!python/object:os.system []\n") == [
        "1:4 a: tags such as '!!int' have no meaning here",
        "2:4 b: tags such as '!mine' have no meaning here",
        "3:4 d: tags such as '!!python/object:os.system' have no meaning here",
    ]


def test_a_second_document_is_refused_and_the_first_is_still_read() -> None:
    root, problems = compose("a: 1\n---\nb: 2\n")
    assert plain(root) == {"a": "1"}
    assert [(p.line, p.column) for p in problems] == [(2, 1)]
    assert problems[0].message == "a second document; one file holds one configuration"


def test_an_escape_that_no_argument_can_hold_is_refused() -> None:
    assert faults('a: "x\\0y"\n') == ["1:4 a: a text may not contain NUL or half a character"]
    assert len(faults('a: "\\ud800"\n')) == 1


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: b: c\n", "1:5", "a text that contains ': ' needs quotes"),
        ("a:\n\tb: 1\n", "2:1", "indent with spaces, not with tabs"),
        ("a: @x\n", "1:4", "not valid YAML: found character"),
        ("a:\n  - [1\nb: 2\n", "3:2", "while parsing a flow sequence that begins on line 2"),
        ("a: 'x\n", "2:1", "while scanning a quoted scalar that begins on line 1"),
        ("%YAML 3.0\n---\na: 1\n", "1:1", "not valid YAML: found incompatible YAML document"),
        ("a: 1\nb: \x1b[2J\n", "2:4", "the character '\\x1b' may not stand in a YAML file"),
        ("a: \ud800\n", "1:4", "the character '\\ud800' may not stand in a YAML file"),
    ],
)
def test_a_syntax_error_has_its_place_and_one_line(text: str, place: str, message: str) -> None:
    [fault] = faults(text)
    assert fault.startswith(f"{place} file: ")
    assert message in fault
    assert len(fault.splitlines()) == 1


def test_faults_before_a_syntax_error_are_still_reported() -> None:
    assert [fault.split(" ")[0] for fault in faults("a: 1\na: 2\nb: @\n")] == ["2:1", "3:4"]


def test_a_position_is_counted_by_every_line_break_of_yaml() -> None:
    assert position("a\nb\r\nc\rd\x85e\u2028f\u2029gh", 14) == (7, 2)


def test_a_path_leads_to_the_value_or_else_to_its_nearest_ancestor() -> None:
    root, _ = compose("a:\n  'b.c': {x: [p, q]}\n  'it''s': 1\n  e:\n  f:\n    - 1\n")
    assert root is not None

    def place(path: str) -> tuple[int, int, bool]:
        node, found = locate(root, path)
        return node.line, node.column, found

    assert place("a.'b.c'.x[1]") == (2, 18, True)
    assert place("a.'b.c'.x") == (2, 11, True)
    assert place("a.'b.c'.x[2]") == (2, 11, False)
    assert place("a.'b.c'.y") == (2, 3, False)
    assert place('a."it\'s"') == (3, 12, True)
    assert place("a.'no.such'") == (1, 1, False)
    assert place("a.e") == (4, 3, True)  # nothing stands there to point at
    assert place("a.f") == (5, 3, True)
    assert place("a.f[0].g") == (6, 7, False)
    assert place("nothing.at.all") == (1, 1, False)


VALUES = st.recursive(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abcXYZ09.- '", max_size=4), inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_what_another_program_writes_is_read_as_it_was(value: object) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert sound(text) == value


@given(VALUES)
@example({" ": "a space", "' '": "a space between quotes"})
def test_every_path_of_a_tree_leads_back_to_its_node(value: object) -> None:
    root, _ = compose(yaml.safe_dump(value, allow_unicode=True))
    assert root is not None

    def check(node: Node, path: str) -> None:
        if isinstance(node, Mapping):
            for key, entry in node.entries.items():
                here = nodes.child(path, key)
                assert locate(root, here)[1]
                assert locate(root, here)[0] in (entry.key, entry.value)
                check(entry.value, here)
        elif isinstance(node, Sequence):
            for index, item in enumerate(node.items):
                assert locate(root, nodes.child(path, index)) == (item, True)
                check(item, nodes.child(path, index))

    check(root, "")


@given(st.text() | st.text("[]{}:-,&*!|>'\"%@`#?ab<~ \n\t"))
def test_any_text_gives_a_tree_or_problems_inside_of_it(text: str) -> None:
    root, problems = compose(text)
    lines = len(nodes.LINE_BREAK.split(text))
    for problem in problems:
        assert 1 <= problem.line <= lines + 1
        assert problem.column >= 1
        assert len(f"{problem.path}: {problem.message}".splitlines()) == 1
    if root is None and not problems:
        assert all(
            line.strip(" \t\ufeff").startswith(("#", "---", "...")) or not line.strip(" \t\ufeff")
            for line in nodes.LINE_BREAK.split(text)
        )
