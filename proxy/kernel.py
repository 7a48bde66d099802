"""What the kernel knows of a TCP connection, and the event loop does not."""

from __future__ import annotations

import socket
import struct
from typing import Final

# struct tcp_info up to tcpi_unacked, the segments sent and not acknowledged
# (linux/tcp.h), and two of the states (linux/tcp_states.h).
_TCP_INFO: Final = struct.Struct("B 7x 16x I")
_ESTABLISHED: Final = 1
_CLOSE: Final = 7


def closed_unread(sock: socket.socket | None) -> bool:
    """Whether the other side closed before it had all that was sent last.

    Its kernel answers the bytes with a reset, behind the end that was just
    read. The reset may still be on its way; but bytes that had come before the
    close, the end would have acknowledged.
    """
    # Twice: the kernel takes the state, then the count, and the reset may come between.
    for _ in range(2):
        state, unacknowledged = _info(sock)
        if state == _CLOSE or unacknowledged:
            return True
    return False


def ended(sock: socket.socket | None) -> bool:
    """Whether the other side has sent its end, or a reset, read or not."""
    return _info(sock)[0] != _ESTABLISHED


def _info(sock: socket.socket | None) -> tuple[int, int]:
    """State and unacknowledged segments; where the platform does not tell, all is well."""
    if sock is None or not hasattr(socket, "TCP_INFO"):
        return _ESTABLISHED, 0
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:
        return _ESTABLISHED, 0
    state, unacknowledged = _TCP_INFO.unpack(info)
    return state, unacknowledged
