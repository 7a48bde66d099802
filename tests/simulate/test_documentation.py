"""What docs/simulate.md shows is what comes out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from wakeful.cli import main

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "simulate.md").read_text()


def examples() -> list[tuple[str, str]]:
    """Commands, and what the page says that they print."""
    blocks = re.findall(r"```\n\$ wakeful (simulate (?:.*\\\n)*.*)\n((?:.*\n)*?)```", PAGE)
    return [(command.replace("\\\n", " "), shown) for command, shown in blocks]


def run(command: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    (file,) = re.findall(r"```yaml\n((?:.*\n)*?)```", PAGE)
    (directory / "wakeful.yaml").write_text(file)
    monkeypatch.chdir(directory)
    return CliRunner().invoke(main, shlex.split(command))


@pytest.mark.parametrize(("command", "shown"), examples())
def test_an_example_of_the_page_prints_what_it_shows(
    command: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(command, tmp_path, monkeypatch)
    said = done.stdout + done.stderr
    left_out, dots, rest = shown.rpartition("...\n")
    assert said.endswith(rest) if dots else said == shown
    assert not left_out
    if (picture := tmp_path / "simulate.svg").exists():
        assert picture.read_text() == (DOCS / "simulate.svg").read_text()


def test_the_page_has_examples() -> None:
    assert len(examples()) == 3
    assert any("--svg simulate.svg" in command for command, _ in examples())
