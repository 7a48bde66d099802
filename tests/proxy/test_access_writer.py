"""The file of the access log, when it is torn or its path cannot be opened."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from wakeful.proxy.access_writer import Writer


def test_a_line_that_an_earlier_run_wrote_in_part_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"one\ntw")
    writer = Writer(str(path))
    writer.write([b"three\n"], 1)
    writer.write([b"four\n"], 1)
    writer.close()
    assert path.read_bytes() == b"one\ntw\nthree\nfour\n"


def test_a_file_that_is_whole_or_empty_is_gone_on_with_as_it_is(tmp_path: Path) -> None:
    for before in (b"", b"one\n"):
        path = tmp_path / "log"
        path.write_bytes(before)
        writer = Writer(str(path))
        writer.write([b"two\n"], 1)
        writer.close()
        assert path.read_bytes() == before + b"two\n"


def test_a_path_that_cannot_be_opened_anew_is_said_and_the_old_file_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    writer = Writer(str(folder / "log"))
    writer.write([b"one\n"], 1)
    folder.rename(tmp_path / "moved")
    writer.reopen()
    with caplog.at_level(logging.ERROR):
        writer.write([b"two\n"], 1)
        writer.close()
    assert (tmp_path / "moved" / "log").read_bytes() == b"one\ntwo\n"
    assert f"{folder}/log cannot be opened: No such file or directory" in caplog.text
    assert writer.dropped == 0


def test_what_is_lost_is_counted_by_the_line() -> None:
    writer = Writer("/dev/full")
    writer.write([b"one\n", b"two\n"], 2)
    writer.write([b"three\n"], 1)
    writer.close()
    assert writer.dropped == 3
