"""Units: the one place where text with a unit becomes a number.

Every function takes the raw text of a value and raises ValueError with a
message that says what was expected. Ranges are not known here.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from ipaddress import IPv4Address, IPv6Address, ip_network

from wakeful.config.model import HostPort, Network

# Bounded, so that no text is slow to convert and no result is infinite.
_NUMBER = r"(?:[0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})"

_DECIMAL = re.compile(_NUMBER)
_WHOLE = re.compile(r"0|[1-9][0-9]{0,17}")
_DURATION = re.compile(
    rf"(?:({_NUMBER})h)?(?:({_NUMBER})m)?(?:({_NUMBER})s)?(?:({_NUMBER})ms)?", re.ASCII
)
_MEMORY = re.compile(rf"({_NUMBER})([A-Za-z]*)", re.ASCII)
_MILLICORES = re.compile(r"[0-9]{1,9}m")
_ADDRESS = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([0-9]{1,9})", re.ASCII)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
# Names of containers and hosts inside a network may hold "_"; a domain may not.
_HOST_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

_SECONDS = (Decimal(3600), Decimal(60), Decimal(1), Decimal("0.001"))

# Kubernetes quantities. Docker reads k, m and g as powers of 1024, Kubernetes
# reads m as a thousandth and k as 1000: those spellings are refused.
_BYTES = {
    "": 1,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
}
_MAX_BYTES = 2**63 - 1


def shown(text: str) -> str:
    """``text`` for a message: on one line, quoted, and not too long."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def duration(text: str) -> float:
    """Seconds, from `300s`, `5m`, `1h30m`, `250ms`, or a bare number of seconds."""
    if _DECIMAL.fullmatch(text):
        return float(Decimal(text))
    match = _DURATION.fullmatch(text)
    if not text or not match:
        raise ValueError(f"expected a duration such as 250ms, 30s, 5m or 1h30m, not {shown(text)}")
    parts = zip(match.groups(), _SECONDS, strict=True)
    return float(sum((Decimal(n) * unit for n, unit in parts if n), Decimal(0)))


def memory(text: str) -> int:
    """Bytes, from `256Mi`, `1Gi`, `512M` or a bare number of bytes; a part of a byte rounds up."""
    match = _MEMORY.fullmatch(text)
    unit = match[2] if match else ""
    if not match or unit not in _BYTES:
        hint = _memory_hint(unit)
        raise ValueError(
            f"expected an amount of memory such as 256Mi or 1Gi, not {shown(text)}{hint}"
        )
    amount = int((Decimal(match[1]) * _BYTES[unit]).to_integral_value(ROUND_CEILING))
    if amount > _MAX_BYTES:
        raise ValueError(f"{shown(text)} is more memory than can be counted")
    return amount


def _memory_hint(unit: str) -> str:
    letter = unit[:1].upper()
    if unit == "m":
        return "; m is a thousandth in Kubernetes and a mebibyte in Docker: write Mi"
    if unit.lower() == "k":
        return f"; {unit} is 1000 in Kubernetes and 1024 in Docker: write Ki"
    if letter and letter in "KMGT" and unit[1:].lower() in ("", "b", "i", "ib"):
        return f"; write {letter}i"
    return ""


def cpu(text: str) -> float:
    """Cores, from `0.5`, `2` or `500m` (thousandths)."""
    if _MILLICORES.fullmatch(text):
        return float(Decimal(text[:-1]) / 1000)
    if _DECIMAL.fullmatch(text):
        return float(Decimal(text))
    raise ValueError(f"expected a number of cores such as 0.5, 2 or 500m, not {shown(text)}")


def ratio(text: str) -> float:
    """A fraction, from `70%` or a bare number.

    A bare number up to 1 is a fraction and above 1 a percentage, as in
    Knative's config-autoscaler: 0.7 and 70 are both 70%, but 2 is 2%.
    """
    number = text.removesuffix("%")
    if not _DECIMAL.fullmatch(number):
        raise ValueError(f"expected a ratio such as 70% or 0.7, not {shown(text)}")
    value = Decimal(number)
    return float(value / 100 if number != text or value > 1 else value)


def number(text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"expected a number such as 10 or 2.5, not {shown(text)}")
    return float(Decimal(text))


def whole(text: str) -> int:
    """Decimal digits alone: YAML's 0777, 0x10, 1_000 and 1:30 are numbers of other kinds."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"expected a whole number in decimal digits, not {shown(text)}")
    return int(text)


def host_port(text: str) -> HostPort:
    """A TCP address, from `127.0.0.1:8080`, `[::1]:8080`, `localhost:8080` or `:8080`."""
    expected = "expected an address such as 127.0.0.1:8080, [::1]:8080 or :8080"
    if "://" in text:
        raise ValueError(f"{expected}, not a URL: {shown(text)}")
    if _WHOLE.fullmatch(text):
        raise ValueError(f"{expected}, not {shown(text)}; write :{text} for every interface")
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise ValueError(f"{expected}, not {shown(text)}")
    ipv6, name, digits = match.groups()
    port = int(digits)
    if not 1 <= port <= 65535:
        raise ValueError(f"the port must be 1 to 65535, not {shown(digits)}")
    try:
        host = str(IPv6Address(ipv6)) if ipv6 is not None else _host(name)
    except ValueError:
        raise ValueError(f"{expected}, not {shown(text)}") from None
    return HostPort(host, port)


def _host(text: str) -> str:
    if not text.strip("0123456789."):
        return str(IPv4Address(text)) if text else ""
    if len(text) > 253 or not all(_HOST_LABEL.fullmatch(part) for part in text.split(".")):
        raise ValueError
    return text.lower()


def network(text: str) -> Network:
    """A network such as 10.0.0.0/8, or one address; bits beyond the prefix are a mistake."""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"expected an address or a network such as 10.0.0.0/8, not {shown(text)}"
        ) from None
    raise ValueError(f"{text} has bits set beyond its prefix; did you mean {meant}?")


def domain(text: str) -> str:
    """A host name in lower case (RFC 1123 §2.1), without the root's final dot."""
    name = text.lower().removesuffix(".")
    if (
        text.isascii()
        and len(name) <= 253
        and all(_LABEL.fullmatch(part) for part in name.split("."))
    ):
        return name
    if "*" in text:
        raise ValueError(f"wildcards are not supported: {shown(text)}")
    if "/" in text or ":" in text:
        raise ValueError(f"expected a host name alone, without scheme, port or path: {shown(text)}")
    if not text.isascii():
        raise ValueError(f"write the ASCII form (xn--...) of the host name {shown(text)}")
    raise ValueError(f"expected a host name such as hello.example.com, not {shown(text)}")
