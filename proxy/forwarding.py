"""Who asked: what an instance is told of it, and whose word is taken for it.

Pure. A client's own Forwarded and X-Forwarded-* fields are replaced, since
anybody can write them; those of a trusted proxy in front are kept, and this
hop is added to them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, TypeAlias

from wakeful.config.model import Network
from wakeful.proxy.headers import KEPT_CLAIMS

Claims: TypeAlias = Sequence[tuple[bytes, bytes]]

_KEPT: Final = tuple((name.lower(), name) for name in KEPT_CLAIMS)
# RFC 7239 §4: elements with commas between them, of which those in quotes are none.
_HOP: Final = rb'(?:[^",]|"(?:[^"\\]|\\.)*+")++'
_HOPS: Final = re.compile(rb"(?:%b|,)*+" % _HOP)
_EACH_HOP: Final = re.compile(_HOP)
# An address as proxies write it: RFC 7239 §6 knows a port behind it.
_ADDRESS: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?|([0-9.]+):[0-9]+|(.*)")


def within(networks: Sequence[Network], address: str) -> bool:
    """Whether ``address`` lies in one of the networks; what is no address lies in none."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(ip, "ipv4_mapped", None) or ip
    return any(mapped in network for network in networks)


def fields(peer: bytes, host: bytes, version: str = "1.1", claims: Claims = ()) -> bytes:
    """The fields that tell an instance who asked.

    ``version`` is of the HTTP that it asked in. ``claims`` are what a trusted
    peer said of it, by lower-case names; without any, the peer itself asked.
    """
    said: dict[bytes, bytes] = {}
    for name, value in claims:
        if value:
            said[name] = b"%b, %b" % (said[name], value) if name in said else value
    before = _elements(said.get(b"forwarded", b""))
    said.setdefault(b"x-forwarded-proto", b"http")
    said.setdefault(b"x-forwarded-host", host)
    hops = [hop for part in said.get(b"x-forwarded-for", b"").split(b",") if (hop := part.strip())]
    hops.append(peer)
    return b"X-Forwarded-For: %b\r\n%bForwarded: %b\r\nVia: %b wakeful\r\n" % (
        b", ".join(hops),
        b"".join(b"%b: %b\r\n" % (shown, said[name]) for name, shown in _KEPT if name in said),
        b", ".join((*before, b"for=" + _node(peer)))
        if before
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
    while chain and within(networks, address):
        before = _address(chain.pop())
        if not before:
            break
        address = before
    return address


def _elements(forwarded: bytes) -> list[bytes]:
    """Those of a Forwarded field; none if a quote is left open, since more could not be added."""
    if _HOPS.fullmatch(forwarded) is None:
        return []
    return [hop for part in _EACH_HOP.findall(forwarded) if (hop := part.strip(b"\t "))]


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
    address = _address(hop.decode("latin-1")).encode("ascii")
    if not address:
        return b"unknown"
    return b'"[%b]"' % address if b":" in address else address


def _address(hop: str) -> str:
    """Without brackets and port; empty for what is no address."""
    match = _ADDRESS.fullmatch(hop)
    address = match[match.lastindex or 3] if match else ""
    try:
        ip_address(address)
    except ValueError:
        return ""
    return address
