from __future__ import annotations

import os
from pathlib import Path

import pytest

from wakeful.config import load as loading
from wakeful.config.load import ConfigError, find, load, loads
from wakeful.config.model import HostPort, RuntimeKind
from wakeful.config.nodes import Problem

HELLO = "services:\n  hello: {image: 'hello:1'}\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory and an empty home, with nothing in the environment."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return tmp_path


def put(path: Path, content: str | bytes = HELLO) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path)
    return caught.value


# Finding


def test_the_file_that_was_named_wins_whether_it_exists_or_not(home: Path) -> None:
    put(home / "here/wakeful.yaml")
    assert find(Path("/no/such.yaml")) == Path("/no/such.yaml")


def test_the_working_directory_comes_before_the_home(home: Path) -> None:
    put(home / "home/.config/wakeful/wakeful.yaml")
    assert find() == home / "home/.config/wakeful/wakeful.yaml"
    put(home / "here/wakeful.yaml")
    assert find() == Path("wakeful.yaml")


def test_the_xdg_directory_takes_the_place_of_dot_config(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(home / "home/.config/wakeful/wakeful.yaml")
    xdg = put(home / "xdg/wakeful/wakeful.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    assert find() == xdg


def test_a_relative_xdg_directory_is_ignored(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home / "here/xdg/wakeful/wakeful.yaml")
    dot_config = put(home / "home/.config/wakeful/wakeful.yaml")
    monkeypatch.setenv("XDG_CONFIG_HOME", "xdg")
    assert find() == dot_config


def test_where_it_looked_is_said_in_order_when_there_is_no_file(home: Path) -> None:
    if os.path.lexists("/etc/wakeful/wakeful.yaml"):
        pytest.skip("this machine has a configuration")
    with pytest.raises(ConfigError) as caught:
        find()
    assert str(caught.value) == (
        "wakeful.yaml:1:1: file: no configuration file; looked for wakeful.yaml, "
        f"{home}/home/.config/wakeful/wakeful.yaml, /etc/wakeful/wakeful.yaml; "
        "name one with -c FILE"
    )


# Reading


def test_relative_paths_start_where_the_file_lies(home: Path) -> None:
    put(home / "conf/w.yaml", HELLO + "state-dir: state\naccess-log: {file: a.log}\n")
    config = load(Path("../conf/w.yaml")).config
    assert config.directory == home / "conf"
    assert config.state_dir == home / "conf/state"
    assert config.access_log.file == str(home / "conf/a.log")


def test_a_linked_file_lies_where_the_link_does(home: Path) -> None:
    put(home / "versions/1/w.yaml")
    (home / "w.yaml").symlink_to("versions/1/w.yaml")
    assert load(home / "w.yaml").config.directory == home


def test_the_file_is_named_as_it_was_given(home: Path) -> None:
    put(home / "here/bad.yaml", "services: 5\n")
    assert str(refusal(Path("bad.yaml"))).startswith("bad.yaml:1:11: services: ")
    assert str(refusal(home / "here/bad.yaml")).startswith(f"{home}/here/bad.yaml:1:11: ")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.yaml", "No such file or directory"),
        (".", "Is a directory"),
        ("nul\0.yaml", "embedded null byte"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(home: Path, name: str, reason: str) -> None:
    assert str(refusal(Path(name))) == f"{name}:1:1: file: cannot be read: {reason}"


def test_bytes_that_are_not_utf_8_have_their_place(home: Path) -> None:
    path = put(home / "w.yaml", "a: ä\nbé: ".encode() + b"\xff\n")
    assert str(refusal(path)) == f"{path}:2:5: file: not UTF-8: the byte 0xff"


def test_utf_16_is_not_guessed_at(home: Path) -> None:
    path = put(home / "w.yaml", HELLO.encode("utf-16"))
    assert str(refusal(path)) == f"{path}:1:1: file: not UTF-8: the byte 0xff"


def test_windows_line_ends_and_a_byte_order_mark_are_fine(home: Path) -> None:
    path = put(home / "w.yaml", b"\xef\xbb\xbf" + HELLO.replace("\n", "\r\n").encode())
    assert list(load(path).config.services) == ["hello"]


def test_a_file_too_large_to_be_a_configuration_is_not_parsed(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MAX_BYTES", 1 << 20)
    path = put(home / "w.yaml", "#" * (1 << 20))
    assert "the file is empty" in str(refusal(path))
    path = put(home / "w.yaml", "#" * ((1 << 20) + 1))
    assert str(refusal(path)) == f"{path}:1:1: file: larger than 1 MiB"


# Errors


def test_problems_are_sorted_by_place_and_said_once() -> None:
    twice = Problem(2, 1, "b", "second")
    error = ConfigError("f", [twice, Problem(1, 9, "a", "first"), twice])
    assert str(error) == "f:1:9: a: first\nf:2:1: b: second"
    assert [problem.line for problem in error.problems] == [1, 2]


def test_an_explanation_shows_the_line_and_points_at_the_column() -> None:
    with pytest.raises(ConfigError) as caught:
        loads("listen: 1\nservices: {a: {image: x,\tport: x}}\n", Path("/"), "f")
    assert caught.value.explain().splitlines() == [
        "f:1:9: listen: expected an address such as 127.0.0.1:8080, [::1]:8080 or :8080, "
        "not '1'; write :1 for every interface",
        "    listen: 1",
        "            ^",
        "f:2:32: services.a.port: expected a whole number in decimal digits, not 'x'",
        "    services: {a: {image: x, port: x}}",
        "                                   ^",
    ]


def test_an_explanation_of_a_long_line_shows_the_part_that_matters() -> None:
    text = f"services: {{a: {{image: {'x' * 300}, port: bad, command: [{'y' * 300}]}}}}"
    with pytest.raises(ConfigError) as caught:
        loads(text, Path("/"))
    _, source, caret = caught.value.explain().splitlines()
    assert len(source) == 104
    assert source[caret.index("^") :].startswith("bad, command")


def test_an_explanation_does_not_send_control_characters_to_a_terminal() -> None:
    with pytest.raises(ConfigError) as caught:
        loads("a: \x1b[2J\n", Path("/"))
    assert "\x1b" not in caught.value.explain()


def test_an_explanation_without_a_line_to_show_is_the_problem_alone() -> None:
    with pytest.raises(ConfigError) as caught:
        loads("a: 'x\n", Path("/"))
    assert caught.value.explain() == str(caught.value)
    missing = ConfigError("f", [Problem(9, 1, "file", "gone")])
    assert missing.explain() == "f:9:1: file: gone"


# What is found out later


def test_a_path_is_turned_into_a_place_after_loading() -> None:
    loaded = loads("services:\n  a:\n    cpu: 1\n    image: x\n", Path("/"), "f")
    assert loaded.problem("services.a.cpu", "m") == Problem(3, 10, "services.a.cpu", "m")
    assert loaded.problem("services.a", "m") == Problem(2, 3, "services.a", "m")
    assert loaded.problem("services.a.memory", "m") == Problem(2, 3, "services.a.memory", "m")
    assert loaded.problem("listen", "m") == Problem(1, 1, "listen", "m")


def test_what_a_default_said_is_found_where_it_said_it_and_once() -> None:
    text = "defaults: {cpu: 1}\nservices:\n  a: {command: [x]}\n  b: {command: [y], cpu: 2}\n"
    loaded = loads(text, Path("/"), "f")
    error = loaded.error([(f"services.{name}.cpu", "no") for name in ("a", "a", "b")])
    assert str(error) == "f:1:17: defaults.cpu: no\nf:4:26: services.b.cpu: no"


def test_the_file_that_is_loaded_is_the_one_that_was_written(home: Path) -> None:
    path = put(home / "w.yaml", HELLO + "listen: ':81'\nruntime: docker\n")
    loaded = load(path)
    assert loaded.file == str(path)
    assert loaded.config.listen == HostPort("", 81)
    assert loaded.config.runtime is RuntimeKind.DOCKER
