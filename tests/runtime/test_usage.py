"""What instances use, from the files of the kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from wakeful.runtime.cgroup import Cgroup, hierarchies, locate
from wakeful.runtime.cgroup_usage import usage_of
from wakeful.runtime.instance import Usage
from wakeful.runtime.process_usage import group_usage

ID = "3f4e0d" * 10 + "beef"


def test_a_cgroup_of_either_version(tmp_path: Path) -> None:
    here = str(tmp_path)
    (tmp_path / "memory.stat").write_text("inactive_file 10\n")
    assert usage_of(Cgroup(2, "", here, here)) == Usage(None, None)
    (tmp_path / "memory.current").write_text("100\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n")
    assert usage_of(Cgroup(2, "", here, here)) == Usage(90, 1.5)
    (tmp_path / "memory.usage_in_bytes").write_text("50\n")
    (tmp_path / "cpuacct.usage").write_text("2500000000\n")
    assert usage_of(Cgroup(1, "", here, here)) == Usage(40, 2.5)
    assert usage_of(Cgroup(1, "", None, None)) == Usage(None, None)


def test_where_processor_time_is_counted() -> None:
    first = hierarchies(
        "35 31 0:31 / /cg/freezer rw - cgroup cgroup rw,freezer\n"
        "36 31 0:32 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    )
    membership = f"6:freezer:/docker/{ID}\n4:cpu,cpuacct:/docker/{ID}\n"
    found = locate(first, membership, ID)
    assert found is not None
    assert found.cpu == f"/cg/cpu/docker/{ID}"
    second = hierarchies("31 30 0:27 / /cg rw - cgroup2 cgroup2 rw\n")
    found = locate(second, f"0::/docker/{ID}\n", ID)
    assert found is not None
    assert found.cpu == f"/cg/docker/{ID}"


BUSY = """
import os, sys
held = bytearray(50 * 2**20)

if os.fork() == 0:
    end = os.times().user + 0.3
    while os.times().user < end: pass
    os._exit(0)
os.wait()
print("done", flush=True)
sys.stdin.read()
"""


def test_a_group_of_processes() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", BUSY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        used = group_usage(process.pid)
        process.stdin.close()
    assert used.memory is not None
    assert 50 * 2**20 < used.memory < 200 * 2**20
    assert used.cpu is not None
    assert used.cpu > 0.25  # of the child that has ended
    assert group_usage(process.pid) == Usage(0, 0.0)
