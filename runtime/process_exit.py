"""Learning that a process ended: its own child's or an adopted one's."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

from wakeful.runtime.process_record import birth

_POLL = 0.05


class ExitWatch:
    """Calls ``ended`` on the loop, once, when the process has ended.

    It is not reaped yet then, so its number still belongs to it and to its
    group; ``reap`` releases it. Raises ProcessLookupError when there is none.
    """

    def __init__(self, pid: int, ended: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._pid = pid
        self._ended: Callable[[], None] | None = ended
        self._status: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fd = _pidfd(pid)
        if self._fd is not None:
            self._loop.add_reader(self._fd, self._finish)
        else:
            os.kill(pid, 0)
            self._timer = self._loop.call_later(_POLL, self._poll)

    def reap(self) -> int | None:
        """The exit code, negative for a signal; None when it is another's child."""
        if self._status is None:
            try:
                pid, status = os.waitpid(self._pid, os.WNOHANG)
            except ChildProcessError:
                return None
            if pid == 0:
                return None
            self._status = status
        return os.waitstatus_to_exitcode(self._status)

    def close(self) -> None:
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = None
        if self._timer is not None:
            self._timer.cancel()

    def _finish(self) -> None:
        self.close()
        # Who holds this is most likely what is called: a circle that only the collector undoes.
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()

    def _poll(self) -> None:
        if self._has_ended():
            self._finish()
        else:
            self._timer = self._loop.call_later(_POLL, self._poll)

    def _has_ended(self) -> bool:
        try:
            if hasattr(os, "waitid"):
                flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
                return os.waitid(os.P_PID, self._pid, flags) is not None
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._status = status
            return pid != 0
        except ChildProcessError:
            pass
        return birth(self._pid) is None  # a zombie has ended, too


def _pidfd(pid: int) -> int | None:
    """A descriptor that is readable once the process has ended; None where there are none."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise
    except OSError:  # a kernel before 5.3, or a sandbox that forbids the call
        return None
