"""What the kernel knows of a TCP connection, and the event loop does not."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import Final

# Two of the states (linux/tcp_states.h), of which struct tcp_info has the first byte.
_ESTABLISHED: Final = 1
_CLOSE: Final = 7

_BYTES: Final = struct.Struct("i")


def unread(sock: socket.socket | None) -> bool:
    """Whether the other side did not get all that was sent last.

    Bytes that it closed before it had them, its kernel answers with a reset, behind the end;
    the reset may still be on its way. Bytes that do not reach it any more are not even answered.
    """
    return _waiting(sock) > 0 or _state(sock) == _CLOSE


def ended(sock: socket.socket | None) -> bool:
    """Whether the other side has sent its end, or a reset, read or not."""
    return _state(sock) != _ESTABLISHED


def _waiting(sock: socket.socket | None) -> int:
    """Bytes written and not acknowledged, sent or not (SIOCOUTQ in tcp(7)).

    A reset leaves that number as it was.
    """
    if sock is None:
        return 0
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(_BYTES.size))
    except (OSError, ValueError):  # ValueError: closed already
        return 0
    waiting: int = _BYTES.unpack(answer)[0]
    return waiting


def _state(sock: socket.socket | None) -> int:
    """Where the platform does not tell, all is well."""
    if sock is None or not hasattr(socket, "TCP_INFO"):
        return _ESTABLISHED
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return _ESTABLISHED
