"""The program of a network sandbox, which does nothing but wait, as the bytes of an ELF file.

A sandbox needs a process to hold its network, and nothing may be pulled for it: so
the smallest static program there is, written by hand for each architecture. System V
ABI, chapters 4 and 5, and its supplements for x86-64 and AArch64.
"""

from __future__ import annotations

import io
import struct
import tarfile
from typing import Final

PATH: Final = "/wait"

_LOADED_AT: Final = 0x400000
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")

# By the engine's names of architectures: the machine in the header (e_machine), the
# size of a page that a segment is aligned to, and the code.
_MACHINES: Final = {
    "amd64": (
        62,
        0x1000,
        bytes.fromhex(
            "b822000000"  # again: mov eax, 34 (pause)
            "0f05"  # syscall
            "ebf7"  # jmp again
        ),
    ),
    "arm64": (
        183,
        0x10000,  # kernels may have pages of 64 KiB
        struct.pack(
            "<7I",
            0xD2800000,  # again: mov x0, #0 (no descriptors)
            0xD2800001,  # mov x1, #0 (none of them)
            0xD2800002,  # mov x2, #0 (no timeout)
            0xD2800003,  # mov x3, #0 (no signal mask)
            0xD2800928,  # mov x8, #73 (ppoll: there is no pause)
            0xD4000001,  # svc #0
            0x17FFFFFA,  # b again, six instructions back
        ),
    ),
}


class UnknownArchitecture(Exception):
    """Nobody has written the program for it."""


def program(architecture: str) -> bytes:
    """The file, for one of the engine's architectures. Raises UnknownArchitecture."""
    if architecture not in _MACHINES:
        raise UnknownArchitecture(f"there is no sandbox program for {architecture}")
    machine, page, code = _MACHINES[architecture]
    start = _HEADER.size + _SEGMENT.size
    size = start + len(code)
    header = _HEADER.pack(
        b"\x7fELF\x02\x01\x01",  # 64 bits, little-endian, version 1
        2,  # ET_EXEC
        machine,
        1,
        _LOADED_AT + start,  # where it begins to run
        _HEADER.size,  # the table of segments follows
        0,
        0,
        _HEADER.size,
        _SEGMENT.size,
        1,  # segment
        0,
        0,
        0,
    )
    # The whole file, to be read and executed.
    segment = _SEGMENT.pack(1, 4 | 1, 0, _LOADED_AT, _LOADED_AT, size, size, page)
    return header + segment + code


def root(architecture: str) -> bytes:
    """A root file system with nothing else in it, as a tar archive."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        file = program(architecture)
        entry = tarfile.TarInfo(PATH.removeprefix("/"))
        entry.size, entry.mode = len(file), 0o555
        tar.addfile(entry, io.BytesIO(file))
    return archive.getvalue()
