"""The program of a sandbox, held against the formats and instruction sets it is written in."""

from __future__ import annotations

import io
import os
import platform
import signal
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from wakeful.runtime.sandbox_program import PATH, UnknownArchitecture, program, root

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", 62), ("arm64", 183)])
def test_the_header_is_that_of_a_static_64_bit_program(architecture: str, machine: int) -> None:
    file = program(architecture)
    # System V ABI, figure 4-3, and for the sizes ELF-64 Object File Format, version 1.5
    assert file[:16] == b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    kind, of, version = struct.unpack_from("<HHI", file, 16)
    assert (kind, of, version) == (2, machine, 1)
    entry, segments, sections = struct.unpack_from("<QQQ", file, 24)
    flags, header_size, segment_size, count = struct.unpack_from("<IHHH", file, 48)
    assert (segments, sections, flags) == (64, 0, 0)
    assert (header_size, segment_size, count) == (64, 56, 1)

    type_, rights, offset, at, _, in_file, in_memory, align = struct.unpack_from(
        "<IIQQQQQQ", file, segments
    )
    assert (type_, rights) == (1, 5)  # PT_LOAD, readable and executable, not writable
    assert (offset, in_file, in_memory) == (0, len(file), len(file))
    assert at % align == 0
    assert align >= 4096
    assert entry == at + 64 + 56


def test_the_code_for_x86_64_waits_and_then_waits_again() -> None:
    code = program("amd64")[120:]
    assert code[:1] == b"\xb8"  # mov eax, imm32
    assert struct.unpack_from("<I", code, 1) == (34,)  # pause(2)
    assert code[5:7] == b"\x0f\x05"  # syscall
    assert code[7:8] == b"\xeb"  # jmp rel8, counted from its end
    assert 9 + struct.unpack_from("<b", code, 8)[0] == 0
    assert len(code) == 9


def test_the_code_for_aarch64_waits_and_then_waits_again() -> None:
    code = struct.unpack("<7I", program("arm64")[120:])
    # MOVZ Xd, #imm16: 110100101 00 imm16 Rd
    moves = [(word & 31, word >> 5 & 0xFFFF) for word in code[:5]]
    assert [word >> 21 for word in code[:5]] == [0b11010010100] * 5
    assert moves == [(0, 0), (1, 0), (2, 0), (3, 0), (8, 73)]  # ppoll(2), all of it nothing
    assert code[5] == 0xD4000001  # SVC #0
    assert code[6] >> 26 == 0b000101  # B, counted in instructions from itself
    assert (code[6] & 0x3FFFFFF) - (1 << 26) == -6


@pytest.mark.skipif(HERE is None, reason="the program is written for other machines than this one")
def test_it_runs_and_waits(tmp_path: Path) -> None:
    assert HERE is not None
    file = tmp_path / "wait"
    file.write_bytes(program(HERE))
    file.chmod(0o755)
    with subprocess.Popen([file]) as process:
        stopped = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        assert stopped is None
        process.terminate()
        assert process.wait(10) == -signal.SIGTERM  # and of nothing before


def test_its_image_has_one_file() -> None:
    with tarfile.open(fileobj=io.BytesIO(root("amd64"))) as tar:
        (member,) = tar.getmembers()
        assert f"/{member.name}" == PATH
        assert member.mode & 0o111
        file = tar.extractfile(member)
        assert file is not None
        assert file.read() == program("amd64")


def test_for_an_architecture_that_nobody_wrote_it_for_there_is_none() -> None:
    with pytest.raises(UnknownArchitecture, match="no sandbox program for s390x"):
        program("s390x")
