"""The file of the access log, when it is torn or its path cannot be opened."""

from __future__ import annotations

import logging
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proxy.wire import PATIENCE
from wakeful.proxy.access_writer import Writer


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


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


def test_on_a_full_disk_a_torn_line_is_not_gone_on_with(tmp_path: Path) -> None:
    """The limit of a file's size is what is nearest to a full disk: it, too, leaves a part."""
    path = tmp_path / "log"
    writer = Writer(str(path))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        writer.write([b"one\n"], 1)
        writer.write([b"two\n", b"three\n"], 2)
        writer.write([b"four\n"], 1)
        until(lambda: writer._taken == 19)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert writer.dropped == 2
    for line in (b"five\n", b"six\n"):
        writer.write([line], 1)
    writer.close()
    assert path.read_bytes() == b"one\ntwo\nth\nfive\nsix\n"
    assert writer.dropped == 2


def test_what_nobody_takes_is_bounded_and_counted(tmp_path: Path) -> None:
    path, piece = tmp_path / "pipe", b"x" * (2**20 - 1) + b"\n"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = Writer(str(path))
    for _ in range(70):
        writer.write([piece], 3)
    assert writer.dropped == 3 * 6  # of 70 MiB 64 wait
    os.set_blocking(reader, True)
    left = 64 * len(piece)
    while left:
        left -= len(os.read(reader, 2**20))
    until(lambda: writer._taken == 64 * len(piece))
    writer.write([b"more\n"], 1)
    assert os.read(reader, 100) == b"more\n"
    assert writer.dropped == 3 * 6
    writer.close()
    os.close(reader)
