"""The access log's file when it does not take what is written."""

from __future__ import annotations

import array
import fcntl
import os
import termios
import time
from pathlib import Path

from wakeful.proxy.access_writer import Writer

BACKLOG = 1024  # batches, as docs/backpressure.md says
PIPE = 65536  # bytes that a pipe holds of what nobody reads


def waiting_in(pipe: int) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def test_what_a_reader_that_stands_still_leaves_behind_is_bounded_and_counted(
    tmp_path: Path,
) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = Writer(str(fifo))
    writer.write(b"x" * (PIPE + 1), 1)
    deadline = time.monotonic() + 20
    while waiting_in(reader) < PIPE and time.monotonic() < deadline:
        time.sleep(0.001)
    assert waiting_in(reader) == PIPE  # so the thread is inside its write
    for number in range(BACKLOG + 7):
        writer.write(b"%d\n" % number, 3)
    assert writer.dropped == 7 * 3
    os.set_blocking(reader, True)
    with os.fdopen(reader, "rb") as file:
        assert file.read(PIPE + 1) == b"x" * (PIPE + 1)
        lines = [int(file.readline()) for _ in range(BACKLOG)]
        assert lines == list(range(BACKLOG))  # the oldest are kept, whole and in order
        writer.close()
        assert file.read() == b""
    assert writer.dropped == 7 * 3


def test_what_a_full_disk_refuses_is_counted() -> None:
    writer = Writer("/dev/full")
    writer.write(b"one\ntwo\n", 2)
    writer.write(b"three\n", 1)
    writer.close()
    assert writer.dropped == 3
