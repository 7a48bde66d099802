"""The little of ELF that copying a program to a bare root file system takes.

System V ABI, chapters 4 and 5; little-endian, as every Linux this runs on.
"""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PT_INTERP = 3


@dataclass(frozen=True, slots=True)
class _Segment:
    type: int
    offset: int
    size: int


def loader(binary: bytes) -> str | None:
    """The dynamic loader that a program asks for; None when it is no dynamic ELF program."""
    for segment in _segments(binary):
        if segment.type == _PT_INTERP:
            return binary[segment.offset : segment.offset + segment.size].rstrip(b"\0").decode()
    return None


def shared_libraries(loader: str, binaries: Iterable[Path]) -> list[str]:
    """What the loader itself would load for them, as ldd(1) finds out."""
    found: set[str] = set()
    for binary in binaries:
        listed = subprocess.run(
            [loader, "--list", str(binary)], capture_output=True, text=True, check=False
        )
        found.update(re.findall(r"=> (/\S+) \(0x", listed.stdout))
    return sorted(found)


def stripped(binary: bytes) -> bytes:
    """Only what is mapped when it runs: without sections, so without debug information.

    Anything but ELF comes back as it is.
    """
    end = max((segment.offset + segment.size for segment in _segments(binary)), default=0)
    if not 0 < end < len(binary):
        return binary
    kept = bytearray(binary[:end])
    if _wide(binary):
        struct.pack_into("<Q", kept, 40, 0)  # e_shoff
        struct.pack_into("<HH", kept, 60, 0, 0)  # e_shnum, e_shstrndx
    else:
        struct.pack_into("<I", kept, 32, 0)
        struct.pack_into("<HH", kept, 48, 0, 0)
    return bytes(kept)


def _segments(binary: bytes) -> list[_Segment]:
    if len(binary) < 64 or binary[:4] != b"\x7fELF" or binary[5] != 1:
        return []
    segments = []
    if _wide(binary):
        (table,) = struct.unpack_from("<Q", binary, 32)
        size, count = struct.unpack_from("<HH", binary, 54)
        for at in range(table, table + size * count, size):
            kind, _, offset, _, _, length = struct.unpack_from("<IIQQQQ", binary, at)
            segments.append(_Segment(kind, offset, length))
    else:
        (table,) = struct.unpack_from("<I", binary, 28)
        size, count = struct.unpack_from("<HH", binary, 42)
        for at in range(table, table + size * count, size):
            kind, offset, _, _, length = struct.unpack_from("<IIIII", binary, at)
            segments.append(_Segment(kind, offset, length))
    return segments


def _wide(binary: bytes) -> bool:
    return binary[4] == 2
