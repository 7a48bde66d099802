"""Writing to the freezer of a cgroup: the files' protocol, and the kernel's own where it may be."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import until
from wakeful.runtime.cgroup import Cgroup
from wakeful.runtime.freezer import CgroupFreezer, cgroup_of, mounted


@pytest.fixture
def first(tmp_path: Path) -> Cgroup:
    (tmp_path / "freezer.state").write_text("THAWED\n")
    return Cgroup(1, str(tmp_path), None)


@pytest.fixture
def second(tmp_path: Path) -> Cgroup:
    (tmp_path / "cgroup.freeze").write_text("0\n")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    return Cgroup(2, str(tmp_path), str(tmp_path))


def test_the_first_version_is_told_by_words(first: Cgroup) -> None:
    state = Path(first.freezer, "freezer.state")
    freezer = CgroupFreezer(first)
    assert (freezer.asked(), freezer.frozen()) == (False, False)
    freezer.freeze()
    assert state.read_text() == "FROZEN\n"
    assert (freezer.asked(), freezer.frozen()) == (True, True)
    freezer.thaw()
    assert state.read_text() == "THAWED\n"
    state.write_text("FREEZING\n")
    assert (freezer.asked(), freezer.frozen()) == (True, False)
    freezer.again()
    assert state.read_text().startswith("FROZEN")
    freezer.close()


def test_the_second_version_is_told_by_digits_and_tells_in_another_file(second: Cgroup) -> None:
    freeze, events = Path(second.freezer, "cgroup.freeze"), Path(second.freezer, "cgroup.events")
    freezer = CgroupFreezer(second)
    assert (freezer.asked(), freezer.frozen()) == (False, False)
    freezer.freeze()
    assert freeze.read_text() == "1\n"
    assert (freezer.asked(), freezer.frozen()) == (True, False)
    events.write_text("populated 1\nfrozen 1\n")
    assert freezer.frozen()
    freezer.thaw()
    assert freeze.read_text() == "0\n"
    freezer.close()


def test_a_cgroup_without_a_freezer_cannot_be_frozen(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        CgroupFreezer(Cgroup(1, str(tmp_path), None))
    (tmp_path / "cgroup.freeze").write_text("0\n")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        CgroupFreezer(Cgroup(2, str(tmp_path), None))
    assert len(os.listdir("/proc/self/fd")) == before


# The kernel's own

MakeCgroup = Callable[[int], tuple[Path, str]]


@pytest.fixture(params=[1, 2])
def kernel(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[bytes], str, Path]]:
    """A process that counts, alone in a cgroup whose name is as a container's."""
    mount = mounted().freezer if request.param == 1 else mounted().unified
    if mount is None or not os.access(mount.point, os.W_OK):
        pytest.skip(f"no cgroup of version {request.param} can be made here")
    name = uuid.uuid4().hex
    directory = Path(mount.point, name)
    directory.mkdir()
    counter = "import time\nfor n in range(10**9): print(n, flush=True); time.sleep(0.001)"
    process = subprocess.Popen([sys.executable, "-c", counter], stdout=subprocess.PIPE)
    try:
        (directory / "cgroup.procs").write_text(str(process.pid))
        yield process, name, directory
    finally:
        for file, thawed in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            if (directory / file).exists():
                (directory / file).write_text(thawed)
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        until(lambda: not (directory / "cgroup.procs").read_text(), "its end")
        directory.rmdir()


def test_a_process_in_a_frozen_cgroup_does_not_run(
    kernel: tuple[subprocess.Popen[bytes], str, Path],
) -> None:
    process, name, directory = kernel
    cgroup = cgroup_of(process.pid, name)
    assert cgroup is not None
    assert Path(cgroup.freezer) == directory
    freezer = CgroupFreezer(cgroup)
    stat = Path(f"/proc/{process.pid}/schedstat")
    assert not freezer.frozen()
    freezer.freeze()
    until(freezer.frozen, "frozen")
    times_run = stat.read_text().split()[2]
    for _ in range(3):
        subprocess.run([sys.executable, "-c", ""], check=True)  # others run meanwhile
    assert stat.read_text().split()[2] == times_run
    freezer.thaw()
    until(lambda: stat.read_text().split()[2] != times_run, "running again")
    assert not freezer.asked()
    freezer.close()


def test_a_cgroup_that_is_gone_is_no_error(tmp_path: Path) -> None:
    mount = mounted().freezer or mounted().unified
    if mount is None or not os.access(mount.point, os.W_OK):
        pytest.skip("no cgroup can be made here")
    version = 1 if mounted().freezer else 2
    directory = Path(mount.point, uuid.uuid4().hex)
    directory.mkdir()
    freezer = CgroupFreezer(Cgroup(version, str(directory), None))
    directory.rmdir()
    freezer.freeze()
    freezer.thaw()
    assert freezer.frozen()
    assert not freezer.asked()
    freezer.close()


def test_nobody_is_taken_for_a_container() -> None:
    assert cgroup_of(os.getpid(), "f" * 64) is None
    assert cgroup_of(2**22 + 1, "f" * 64) is None
