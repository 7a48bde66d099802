"""The loop gets a processor sooner than what it starts.

A start keeps the processors busy for some tenths of a second, and a request wants one for
0.1 ms: to wait behind the start costs the request a hundred times its time, and the other way
round nobody notices. nginx has the same as ``worker_priority``.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("wakeful")

_NICENESS = -10


def take_precedence() -> None:
    """Of the calling thread, where that is allowed and nobody has decided on it before.

    Threads and processes that it starts have the usual niceness (``SCHED_RESET_ON_FORK``,
    sched(7)).
    """
    if sys.platform != "linux" or os.getpriority(os.PRIO_PROCESS, 0) != 0:
        return
    try:
        usual = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, usual, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, _NICENESS)
    except OSError as error:  # only root may, or whoever has CAP_SYS_NICE
        log.debug("niceness stays as it is: %s", error.strerror)
        return
    # Where the kernel schedules by sessions, that counts only within one (sched(7), autogroups).
    # A session that we do not lead is somebody's terminal.
    if os.getsid(0) == os.getpid():
        with suppress(OSError):  # a kernel without them
            Path("/proc/self/autogroup").write_text(str(_NICENESS), encoding="ascii")
    log.info("niceness %d: requests come before starts", _NICENESS)
