"""How the keys that only containers have are read: the short forms of Compose files."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import PurePosixPath

from wakeful.config import quantity
from wakeful.config.model import Volume
from wakeful.config.quantity import shown
from wakeful.config.readers import matching, one_of

SECRETS = "/run/secrets"

# capabilities(7), and the engine's word for all of them.
_CAPABILITIES = """
    ALL AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN
    DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE
    MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON
    SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE
    SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
# getrlimit(2), as the engine spells them.
_ULIMITS = """
    core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack
"""


def capability(text: str) -> str:
    return _capability(text.upper().removeprefix("CAP_"))


_capability = one_of(_CAPABILITIES.split(), "a capability such as NET_RAW, or ALL")
ulimit_name = one_of(_ULIMITS.split(), "a limit such as nofile")


def limit(text: str) -> int:
    return -1 if text in ("-1", "unlimited") else quantity.whole(text)


def volume(text: str) -> Volume:
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source or not target:
        raise ValueError(
            f"expected SOURCE:TARGET or SOURCE:TARGET:ro, such as ./data:/data, not {shown(text)}"
        )
    if source.startswith("~"):
        raise ValueError(f"expected a path ('~' is not expanded), not {shown(source)}")
    if not source.startswith((".", "/")):
        if "/" in source:
            raise ValueError(f"a relative path begins with ./: write {shown('./' + source)}")
        volume_name(source)
    if mode not in ("", "ro", "rw"):
        raise ValueError(f"expected ro or rw after the target, not {shown(mode)}")
    return Volume(source, inner_path(target), mode == "ro")


volume_name = matching(
    r"[A-Za-z0-9][A-Za-z0-9_.-]+", "a path that begins with / or ./, or the name of a volume"
)


def tmpfs(text: str) -> str:
    """A path, and perhaps the options of its mount, as in `/tmp:size=64m,mode=1777`."""
    path, colon, options = text.partition(":")
    if colon and not options:
        raise ValueError(f"the options are missing after ':' in {shown(text)}")
    return inner_path(path) + colon + options


def inner_path(text: str) -> str:
    """An absolute path inside a container, in its simplest form."""
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or ":" in text:
        raise ValueError(f"expected an absolute path inside the container, not {shown(text)}")
    if len(path.parts) == 1:
        raise ValueError("the root of the container cannot be mounted over")
    return "/" + "/".join(path.parts[1:])  # POSIX lets // be something else


def secret_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", text, re.ASCII):
        raise ValueError(f"expected a name for a file in {SECRETS}")
    return text


def label(text: str) -> str:
    if not text or text.startswith("wakeful."):
        raise ValueError("a label needs a name, and wakeful.* are wakeful's own")
    return text


def log_option(text: str) -> str:
    if not text:
        raise ValueError("an option needs a name")
    return text


def extra_host(text: str) -> str:
    """NAME:ADDRESS, or NAME:host-gateway for the engine's host."""
    name, colon, address = text.partition(":")
    bare = address.removeprefix("[").removesuffix("]")
    try:
        if not (name and colon):
            raise ValueError
        if bare != "host-gateway":
            ip_address(bare)
    except ValueError:
        raise ValueError(
            f"expected NAME:ADDRESS such as db:10.0.0.5, or NAME:host-gateway, not {shown(text)}"
        ) from None
    return f"{name}:{bare}"


def name_server(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        raise ValueError(f"expected the address of a name server, not {shown(text)}") from None


user = matching(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?::[A-Za-z0-9_][A-Za-z0-9_.-]*)?",
    "a user such as 1000, 1000:1000 or app",
)
signal_name = matching(r"SIG[A-Z][A-Z0-9+-]*|[1-9][0-9]?", "a signal such as SIGQUIT")
network_name = matching(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "the name of a network")


def reached_through(text: str) -> str:
    """The network that requests come through."""
    if text == "none":
        raise ValueError("an instance without a network cannot be reached")
    return _reached_through(text)


_reached_through = matching(
    r"[A-Za-z0-9][A-Za-z0-9_.-]*", "bridge, host, sandbox, or the name of a network"
)
runtime_name = matching(r"[A-Za-z0-9][A-Za-z0-9_./-]*", "the name of a runtime such as runsc")
driver_name = matching(r"[A-Za-z0-9][A-Za-z0-9_./:-]*", "a log driver such as json-file")
