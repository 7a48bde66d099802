"""Who gets a processor first: wakeful's loop, if it may, and nothing that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Launch
from tests.e2e.harness import Platform, until

TAKE = "import os; from wakeful.precedence import take_precedence; take_precedence();"
SHOW_OWN = "print(os.getpriority(os.PRIO_PROCESS, 0))"
SHOW_SESSION = "print(open('/proc/self/autogroup').read().split()[-1])"

needs_sessions = pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel does not schedule by sessions"
)


def niceness(pid: int, thread: int | None = None) -> int:
    """proc(5): the nineteenth."""
    stat = Path(f"/proc/{pid}/task/{thread or pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[16])


def autogroup(pid: int) -> str:
    """Of its session: "/autogroup-25 nice 0"."""
    return Path(f"/proc/{pid}/autogroup").read_text().strip().rpartition(" nice ")[2]


def after(*wrapper: str, show: str = SHOW_OWN, start_new_session: bool = False) -> int:
    """The niceness of another program, or of its session, after it took precedence."""
    done = subprocess.run(
        [*wrapper, sys.executable, "-c", TAKE + show],
        capture_output=True,
        text=True,
        check=True,
        start_new_session=start_new_session,
    )
    return int(done.stdout)


@pytest.fixture
def may_be_raised() -> None:
    if after() == 0:
        pytest.skip("niceness can be lowered by root only")


@pytest.mark.usefixtures("may_be_raised")
def test_the_loop_comes_first_and_what_it_starts_does_not(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"hello": processes.service(min_instances=1)})
    until(lambda: wakeful.instances("hello", state="ready") == 1, "an instance")
    (instance,) = wakeful.processes()
    threads = {int(name) for name in os.listdir(f"/proc/{wakeful.pid}/task")} - {wakeful.pid}
    assert threads
    assert niceness(wakeful.pid) == -10
    assert {niceness(wakeful.pid, thread) for thread in threads} == {0}
    assert niceness(instance) == 0
    if Path(f"/proc/{instance}/autogroup").exists():
        assert autogroup(instance) == "0"


@pytest.mark.usefixtures("may_be_raised")
@needs_sessions
def test_where_the_kernel_schedules_by_sessions_its_own_comes_first() -> None:
    assert after(show=SHOW_SESSION, start_new_session=True) == -10


@pytest.mark.usefixtures("may_be_raised")
@needs_sessions
def test_somebodys_terminal_is_left_alone() -> None:
    shell = ["sh", "-c", '"$@"; exit $?', "sh"]  # leads the session, as it does in a terminal
    assert after(*shell, show=SHOW_SESSION, start_new_session=True) == 0


def test_what_an_operator_has_decided_stays() -> None:
    assert after("nice", "-n", "3") == 3


def test_who_may_not_goes_on_as_ever() -> None:
    if os.geteuid() == 0:
        assert after("setpriv", "--bounding-set", "-sys_nice", "--inh-caps", "-sys_nice") == 0
    else:
        assert after() == 0
