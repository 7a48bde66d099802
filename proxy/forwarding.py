"""Who asked: what an instance is told of it, and whose word is taken for it.

Pure. A client's own Forwarded and X-Forwarded-* fields are replaced, since
anybody can write them; those of a trusted proxy in front are kept, and this
hop is added to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, TypeAlias

from wakeful.config.model import Network

Claims: TypeAlias = Sequence[tuple[bytes, bytes]]

# Passed on from a trusted proxy as they are.
_KEPT: Final = (
    (b"x-forwarded-proto", b"X-Forwarded-Proto"),
    (b"x-forwarded-host", b"X-Forwarded-Host"),
    (b"x-forwarded-port", b"X-Forwarded-Port"),
    (b"x-real-ip", b"X-Real-IP"),
)


def within(networks: Sequence[Network], address: str) -> bool:
    """Whether ``address`` lies in one of the networks; what is no address lies in none."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    return any(mapped in network for network in networks)


def fields(peer: bytes, host: bytes, version: str = "1.1", claims: Claims = ()) -> bytes:
    """The fields that tell an instance who asked, and the end of its head.

    ``version`` is of the HTTP that it asked in. ``claims`` are what a trusted
    peer said of it, by lower-case names; without any, the peer itself asked.
    """
    said: dict[bytes, bytes] = {}
    for name, value in claims:
        said[name] = b"%b, %b" % (said[name], value) if name in said else value
    said.setdefault(b"x-forwarded-proto", b"http")
    said.setdefault(b"x-forwarded-host", host)
    hops = [hop for part in said.get(b"x-forwarded-for", b"").split(b",") if (hop := part.strip())]
    hops.append(peer)
    return b"X-Forwarded-For: %b\r\n%bForwarded: %b\r\nVia: %b wakeful\r\n\r\n" % (
        b", ".join(hops),
        b"".join(b"%b: %b\r\n" % (shown, said[name]) for name, shown in _KEPT if name in said),
        said[b"forwarded"] + b", for=" + _node(peer)
        if b"forwarded" in said
        else _forwarded(hops, said[b"x-forwarded-host"], said[b"x-forwarded-proto"]),
        version.encode("ascii"),
    )


def client(networks: Sequence[Network], peer: str, claims: Claims) -> str:
    """The address that asked: the last in X-Forwarded-For that is not a proxy of ours."""
    chain = [
        hop.strip()
        for name, value in claims
        if name == b"x-forwarded-for"
        for hop in value.decode("latin-1").split(",")
    ]
    address = peer
    while chain and within(networks, address) and _is_address(chain[-1]):
        address = chain.pop()
    return address


def _forwarded(hops: Sequence[bytes], host: bytes, proto: bytes) -> bytes:
    """RFC 7239 §4: an element for each hop; the first knows what the client asked for."""
    first = b'for=%b;host="%b";proto=%b' % (
        _node(hops[0]),
        host.translate(None, b'"\\'),
        proto if proto.isalpha() else b"http",
    )
    return b", ".join((first, *(b"for=" + _node(hop) for hop in hops[1:])))


def _node(hop: bytes) -> bytes:
    """RFC 7239 §6: an address, or that it is not known."""
    if not _is_address(hop.decode("latin-1")):
        return b"unknown"
    return b'"[%b]"' % hop if b":" in hop else hop


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
