"""Where a container's cgroup is, from texts as engines and kernels write them."""

from __future__ import annotations

import pytest

from wakeful.runtime.cgroup import Cgroup, Hierarchies, Mount, hierarchies, locate, working_set

ID = "3f4e0d" * 10 + "beef"

FIRST = """\
25 30 0:22 / /proc rw,nosuid - proc proc rw
31 30 0:27 / /sys/fs/cgroup ro,nosuid shared:8 - tmpfs tmpfs ro,mode=755
33 31 0:29 / /sys/fs/cgroup/systemd rw shared:10 - cgroup cgroup rw,xattr,name=systemd
34 31 0:30 / /sys/fs/cgroup/memory rw,nosuid shared:11 - cgroup cgroup rw,memory
35 31 0:31 / /sys/fs/cgroup/freezer rw,nosuid shared:12 - cgroup cgroup rw,freezer
"""
SECOND = "31 30 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
BOTH = FIRST + "36 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"


def test_hierarchies_of_the_first_version() -> None:
    mounted = hierarchies(FIRST)
    assert mounted.freezer == Mount("/", "/sys/fs/cgroup/freezer")
    assert mounted.memory == Mount("/", "/sys/fs/cgroup/memory")
    assert mounted.unified is None


def test_the_hierarchy_of_the_second_version() -> None:
    assert hierarchies(SECOND) == Hierarchies(unified=Mount("/", "/sys/fs/cgroup"))


def test_a_machine_without_any() -> None:
    assert hierarchies("25 30 0:22 / /proc rw - proc proc rw\n") == Hierarchies()


def test_the_first_of_several_mounts_counts_and_blanks_are_decoded() -> None:
    again = "37 31 0:33 /sub /mnt/my\\040groups rw - cgroup2 cgroup2 rw\n"
    assert hierarchies(SECOND + again).unified == Mount("/", "/sys/fs/cgroup")
    assert hierarchies(again).unified == Mount("/sub", "/mnt/my groups")


def test_a_container_of_docker_on_the_first_version() -> None:
    membership = f"12:memory:/docker/{ID}\n6:freezer:/docker/{ID}\n0::/\n"
    assert locate(hierarchies(BOTH), membership, ID) == Cgroup(
        1, f"/sys/fs/cgroup/freezer/docker/{ID}", f"/sys/fs/cgroup/memory/docker/{ID}"
    )


def test_controllers_that_are_mounted_together() -> None:
    membership = f"4:cpu,freezer:/docker/{ID}\n"
    mounted = hierarchies("35 31 0:31 / /cg rw - cgroup cgroup rw,cpu,freezer\n")
    assert locate(mounted, membership, ID) == Cgroup(1, f"/cg/docker/{ID}", None)


@pytest.mark.parametrize(
    "path",
    [
        f"/docker/{ID}",
        f"/system.slice/docker-{ID}.scope",
        f"/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{ID}.scope",
        f"/machine.slice/libpod-{ID}.scope",
    ],
)
def test_a_container_on_the_second_version(path: str) -> None:
    where = f"/sys/fs/cgroup{path}"
    assert locate(hierarchies(SECOND), f"0::{path}\n", ID) == Cgroup(2, where, where, where)


def test_cgroups_that_were_made_inside_of_a_container_are_frozen_with_it() -> None:
    membership = f"0::/system.slice/docker-{ID}.scope/init.scope\n"
    where = f"/sys/fs/cgroup/system.slice/docker-{ID}.scope"
    assert locate(hierarchies(SECOND), membership, ID) == Cgroup(2, where, where, where)


def test_a_process_that_is_not_the_containers_is_left_alone() -> None:
    own = "6:freezer:/user/me\n0::/user.slice\n"
    assert locate(hierarchies(BOTH), own, ID) is None
    assert locate(hierarchies(SECOND), own, ID) is None
    assert locate(hierarchies(SECOND), "", ID) is None


def test_a_hierarchy_that_is_not_mounted_cannot_be_reached() -> None:
    assert locate(Hierarchies(), f"6:freezer:/docker/{ID}\n0::/docker/{ID}\n", ID) is None


def test_a_mount_of_a_part_shows_only_that_part() -> None:
    mounted = Hierarchies(unified=Mount("/docker", "/cg"))
    here = f"/cg/{ID}"
    assert locate(mounted, f"0::/docker/{ID}\n", ID) == Cgroup(2, here, here, here)
    assert locate(mounted, f"0::/elsewhere/{ID}\n", ID) is None


def test_what_is_above_our_own_namespace_cannot_be_reached() -> None:
    membership = f"0::/../{ID}\n"
    assert locate(Hierarchies(unified=Mount("/", "/cg")), membership, ID) is None
    # Unless the whole hierarchy was mounted into our container.
    whole = Hierarchies(unified=Mount("/..", "/host"))
    assert locate(whole, membership, ID) == Cgroup(2, f"/host/{ID}", f"/host/{ID}", f"/host/{ID}")


def test_memory_is_the_usage_without_file_pages_that_nobody_used_lately() -> None:
    assert working_set("cache 100\ninactive_file 7\ntotal_inactive_file 40\n", "100\n") == 60
    assert working_set("anon 1\ninactive_file 30\n", "100\n") == 70
    assert working_set("", "100\n") == 100
    assert working_set("inactive_file 200\n", "100\n") == 0
