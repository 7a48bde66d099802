"""Whose process one is, and that nobody else's is ended."""

from __future__ import annotations

import subprocess

import pytest

from wakeful.runtime.docker_forgotten import end_forgotten, member_of

OURS = "5d41402abc4b2a76b9719d911017c592" * 2
OTHER = "7d793037a0760186574b0282f2f435e7" * 2


@pytest.mark.parametrize(
    "membership",
    [
        f"12:freezer:/docker/{OURS}\n1:name=systemd:/docker/{OURS}\n0::/system.slice\n",
        f"0::/system.slice/docker-{OURS}.scope\n",
        f"0::/system.slice/docker-{OURS}.scope/inner\n",
        f"4:memory:/kubepods/{OTHER}/docker/{OURS}\n",
    ],
)
def test_a_process_is_known_by_the_cgroup_that_it_is_in(membership: str) -> None:
    assert member_of(membership, {OURS}) == OURS


@pytest.mark.parametrize(
    "membership",
    [
        "",
        "0::/\n",
        f"0::/docker/{OTHER}\n",
        f"0::/docker/{OURS[:12]}\n",
        f"0::/docker/{OURS[:-1]}\n",
    ],
)
def test_all_others_are_not(membership: str) -> None:
    assert member_of(membership, {OURS, ""}) is None


def test_what_is_in_none_of_them_runs_on() -> None:
    process = subprocess.Popen(["sleep", "60"])
    try:
        end_forgotten([])
        end_forgotten(["", OURS])
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
