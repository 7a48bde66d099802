"""What a later run is told; each test's second directory object is that later run."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wakeful.config.model import Queue, Revision, Service, Template, TrafficTarget
from wakeful.state import StateDirectory, StateError

FIRST = Service("hello", Template(image="hello:1", env=(("KEY", "secret"),)))
SECOND = replace(FIRST, template=Template(image="hello:2", queue=Queue(limit=5)))
THIRD = replace(FIRST, template=Template(image="hello:3"))


@contextmanager
def run(path: Path) -> Iterator[StateDirectory]:
    with closing(StateDirectory(path)) as state:
        state.open()
        yield state


def said(path: Path) -> Any:
    return json.loads((path / "state.json").read_text())["services"]["hello"]


def test_the_latest_revision_is_known_with_its_template(tmp_path: Path) -> None:
    with run(tmp_path) as state:
        assert state.latest("hello") is None
        assert state.revisions([FIRST], {}) == [Revision("hello", 1, FIRST.template)]
    with run(tmp_path) as state:
        first = Revision("hello", 1, FIRST.template)
        assert state.latest("hello") == first
        assert state.answered(["hello", "other"], ()) == {}
        assert state.answered(["hello", "other"], {first.name}) == {"hello": first}
        assert [one.name for one in state.revisions([FIRST], {})] == ["hello-00001"]
        assert [one.name for one in state.revisions([SECOND], {})] == ["hello-00002"]


def test_settings_that_make_no_new_revision_are_remembered_as_they_are_now(tmp_path: Path) -> None:
    tuned = replace(FIRST, template=replace(FIRST.template, max_instances=3))
    with run(tmp_path) as state:
        state.revisions([FIRST], {})
        state.revisions([tuned], {})
    with run(tmp_path) as state:
        assert state.latest("hello") == Revision("hello", 1, tuned.template)


def test_what_serves_until_the_latest_is_ready_is_known_until_it_is_settled(tmp_path: Path) -> None:
    old = Revision("hello", 1, FIRST.template)
    with run(tmp_path) as state:
        state.revisions([FIRST], {})
        state.revisions([SECOND], {"hello": old})
        state.revisions([SECOND], {})  # another reload, in the middle of it
    with run(tmp_path) as state:
        assert state.answered(["hello"], ()) == {"hello": old}
        assert state.latest("hello") == Revision("hello", 2, SECOND.template)
        state.revisions([THIRD], {"hello": old})
        assert state.answered(["hello"], ()) == {"hello": old}
        state.settle("hello")
        state.settle("hello")
        state.settle("nobody")
        state.save()
    assert "serving" not in said(tmp_path)
    with run(tmp_path) as state:
        assert state.answered(["hello"], ()) == {}
        assert state.latest("hello") == Revision("hello", 3, THIRD.template)


def test_a_service_that_is_removed_keeps_its_number_and_nothing_that_serves(tmp_path: Path) -> None:
    with run(tmp_path) as state:
        state.revisions([FIRST], {})
        state.revisions([SECOND], {"hello": Revision("hello", 1, FIRST.template)})
        state.revisions([], {})
    with run(tmp_path) as state:
        assert state.answered(["hello"], ()) == {}
        assert [one.name for one in state.revisions([SECOND], {})] == ["hello-00002"]


def test_the_same_definition_is_a_new_revision_where_its_image_has_moved(tmp_path: Path) -> None:
    with run(tmp_path) as state:
        for moved, name in (
            ((), "hello-00001"),
            (("other",), "hello-00001"),
            (("hello",), "hello-00002"),
            ((), "hello-00002"),
        ):
            assert [one.name for one in state.revisions([FIRST], {}, moved)] == [name]


def test_former_revisions_are_remembered_by_name_to_be_pinned(tmp_path: Path) -> None:
    with run(tmp_path) as state:
        for number in range(1, 31):
            template = Template(image=f"hello:{number}")
            traffic = (TrafficTarget(10, "hello-00002"), TrafficTarget(90))
            state.revisions([Service("hello", template, traffic=traffic)], {})
    with run(tmp_path) as state:
        known = [TrafficTarget(1, f"hello-{number:05d}") for number in (2, *range(10, 31))]
        # As they were made, under the settings of now.
        template = Template(image="hello:new", max_instances=3)
        pinned = state.pinned(Service("hello", template, traffic=(*known, TrafficTarget(78))))
        assert pinned == tuple(
            (1, Revision("hello", number, Template(image=f"hello:{number}", max_instances=3)))
            for number in (2, *range(10, 31))
        )
        names = ("hello-00001", "hello-00009", "hello-00031", "hello-000030")
        targets = tuple(TrafficTarget(25, name) for name in names)
        unknown = Service("hello", template, traffic=targets)
        assert list(state.unknown(unknown)) == list(enumerate(names))
        assert state.pinned(unknown) == ()
        other = Service("other", template, traffic=(TrafficTarget(100, "other-00001"),))
        assert list(state.unknown(other)) == [(0, "other-00001")]


def test_nothing_is_written_when_nothing_was_settled(tmp_path: Path) -> None:
    with run(tmp_path) as state:
        state.revisions([FIRST], {})
        (tmp_path / "state.json").unlink()
        state.settle("hello")
        state.save()
        assert not (tmp_path / "state.json").exists()


def test_a_failure_to_write_is_said_once(tmp_path: Path) -> None:
    with run(tmp_path) as state:
        state.revisions([FIRST], {})
        state.revisions([SECOND], {"hello": Revision("hello", 1, FIRST.template)})
        state.settle("hello")
        (tmp_path / "state.new").mkdir()
        with pytest.raises(StateError, match=r"state\.json cannot be written"):
            state.save()
        state.save()


def test_only_its_owner_may_read_what_is_in_an_environment(tmp_path: Path) -> None:
    with run(tmp_path) as state:
        state.revisions([FIRST], {})
    assert "secret" in (tmp_path / "state.json").read_text()
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("template", [None, {"image": 1}, {"of": "another version"}])
def test_a_template_that_is_not_understood_is_not_known(tmp_path: Path, template: object) -> None:
    with run(tmp_path) as state:
        state.revisions([FIRST], {})
    file = tmp_path / "state.json"
    content = json.loads(file.read_text())
    content["services"]["hello"]["template"] = template
    content["services"]["hello"]["serving"] = {"generation": 7, "template": template}
    file.write_text(json.dumps(content))
    with run(tmp_path) as state:
        assert state.latest("hello") is None
        assert state.answered(["hello"], ()) == {}
        assert [one.name for one in state.revisions([FIRST], {})] == ["hello-00001"]


def test_a_file_without_templates_is_read(tmp_path: Path) -> None:
    with run(tmp_path) as state:
        state.revisions([FIRST], {})
    file = tmp_path / "state.json"
    content = json.loads(file.read_text())
    del content["services"]["hello"]["template"]
    file.write_text(json.dumps(content))
    with run(tmp_path) as state:
        assert state.latest("hello") is None
        assert [one.name for one in state.revisions([FIRST], {})] == ["hello-00001"]


def test_the_same_again_is_not_written_so_that_a_full_disk_keeps_nobody_from_starting(
    tmp_path: Path,
) -> None:
    with run(tmp_path) as state:
        state.revisions([FIRST], {})
    file = tmp_path / "state.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=1))  # as another may write it
    (tmp_path / "state.new").mkdir()
    with run(tmp_path) as state:
        assert [one.name for one in state.revisions([FIRST], {})] == ["hello-00001"]
        with pytest.raises(StateError, match=r"state\.json cannot be written"):
            state.revisions([SECOND], {})
