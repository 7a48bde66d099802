"""Values set over a file by their paths: read as if the file said them."""

from __future__ import annotations

from pathlib import Path

import pytest

from wakeful.config.load import Loaded, OverrideError, loads
from wakeful.config.override import Override

FILE = """\
defaults: &usual
  concurrency: 5
services:
  hello:
    image: hello:1
    scale: {window: 60s}
  bare:
    command: run
"""


def loaded(*changes: str, file: str = FILE) -> Loaded:
    return loads(file, Path("/srv")).overridden([Override.parse(change) for change in changes])


def refusal(*changes: str) -> list[str]:
    with pytest.raises(OverrideError) as caught:
        loaded(*changes)
    return str(caught.value).splitlines()


def test_what_is_set_wins_over_the_file_and_everything_else_stays() -> None:
    services = loaded("services.hello.scale.window=30s").config.services
    assert services["hello"].template.scale.window == 30
    assert services["hello"].template.image == "hello:1"
    assert services["hello"].template.concurrency == 5
    assert services["bare"] == loads(FILE, Path("/srv")).config.services["bare"]


def test_what_the_file_does_not_say_is_added() -> None:
    services = loaded("services.bare.scale.panic-window=20%", "defaults.queue.limit=7").config
    assert services.services["bare"].template.scale.panic_window == 0.2
    assert services.services["bare"].template.queue.limit == 7


def test_lists_and_mappings_are_written_as_in_the_file() -> None:
    config = loaded("services.hello.domains=[a.example.com, b.example.com]").config
    assert config.services["hello"].domains == ("a.example.com", "b.example.com")
    config = loaded("services.hello.scale={target: 3}").config
    assert config.services["hello"].template.scale.target == 3
    assert config.services["hello"].template.scale.window == 60  # its default
    config = loaded('services.bare.command="a b=c"').config
    assert config.services["bare"].template.command == ("a", "b=c")


def test_the_later_of_two_wins() -> None:
    config = loaded("services.hello.concurrency=1", "services.hello.concurrency=2").config
    assert config.services["hello"].template.concurrency == 2


def test_what_is_shared_by_an_alias_is_changed_in_one_place_only() -> None:
    file = (
        "services:\n  a: {image: 'a:1', scale: &s {window: 10s}}\n  b: {image: 'b:1', scale: *s}\n"
    )
    services = loaded("services.a.scale.window=20s", file=file).config.services
    assert services["a"].template.scale.window == 20
    assert services["b"].template.scale.window == 10


def test_the_directory_of_the_file_is_kept() -> None:
    assert loaded("services.hello.concurrency=1").config.directory == Path("/srv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "services.hello.scale.window=2s",
            "services.hello.scale.window: must be 6s to 1h in whole seconds, not 2s",
        ),
        (
            "services.hello.concurency=2",
            "services.hello.concurency: unknown key; did you mean 'concurrency'?",
        ),
        (
            "services.hello.scale=fast",
            "services.hello.scale: expected a mapping (KEY: VALUE), not 'fast'",
        ),
        ("services.hello.concurrency=", "services.hello.concurrency: the value is missing"),
        ("services.helo.concurrency=2", "there is no service 'helo'; did you mean 'hello'?"),
        ("services.xyz.concurrency=2", "there is no service 'xyz'"),
        ("services.hello.image.tag=2", "services.hello.image has no keys of its own"),
    ],
)
def test_what_is_wrong_is_said_with_what_was_set_as_its_place(change: str, message: str) -> None:
    assert refusal(change) == [f"--set {change}: {message}"]


def test_only_what_is_at_fault_is_named() -> None:
    (line,) = refusal("services.hello.concurrency=2", "services.bare.max-instances=few")
    assert line.startswith("--set services.bare.max-instances=few: services.bare.max-instances: ")


def test_a_rule_between_keys_is_broken_by_all_that_was_set() -> None:
    changes = ("services.hello.min-instances=20", "services.bare.concurrency=1")
    (line,) = refusal(*changes)
    assert line == (
        f"--set {changes[0]}: services.hello.min-instances: "
        "min-instances (20) is more than max-instances (10)"
    )
    (line,) = refusal("listen=:99", "admin=:99", "services.bare.concurrency=1")
    assert line.startswith("--set admin=:99: admin: listen")


def test_a_problem_at_none_of_the_places_is_blamed_on_all() -> None:
    changes = ("services.bare.command=", "services.hello.concurrency=1")
    assert all(line.startswith("--set services.bare.command=") for line in refusal(*changes))
    changes = ("services.hello={}", "services.bare.concurrency=1")
    (line,) = refusal(*changes)
    assert line.startswith("--set services.hello={}: services.hello: one of 'image'")
    changes = ("domain=example.com", "services.hello.domains=[bare.example.com]")
    (line,) = refusal(*changes)
    assert "bare.example.com is how service 'bare' is reached already" in line


def test_a_value_that_is_no_yaml_is_refused() -> None:
    (line,) = refusal("services.hello.scale={window: 30s")
    assert line.startswith("--set services.hello.scale={window: 30s: not valid YAML")


@pytest.mark.parametrize(
    "text", ["services.hello", "=3", "services..hello=3", ".=3", "services.hello.domains[0]=x"]
)
def test_what_is_no_path_and_value_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected PATH=VALUE such as services"):
        Override.parse(text)


def test_a_quoted_segment_may_hold_anything() -> None:
    config = loaded("services.hello.env.'a.b'=1").config
    assert config.services["hello"].template.env == (("a.b", "1"),)
