from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeful.config import quantity
from wakeful.config.model import HostPort


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300s", 300.0),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("1h1m1s1ms", 3661.001),
        ("250ms", 0.25),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("90", 90.0),
        ("0.1", 0.1),
        ("100ms", 0.1),
        ("0s", 0.0),
    ],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert quantity.duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *["", "s", "5 m", "-5s", "+5s", "5M", "5min", "1:30", "30m1h", "5s5s", "1e3", "inf"],
        *["nan", "\u0665s", "9" * 400],
    ],
)
def test_what_is_not_a_duration_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ValueError, match="expected a duration such as 250ms, 30s, 5m or 1h30m"):
        quantity.duration(text)


@given(st.integers(0, 9999), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_a_duration_written_from_its_parts_is_read_back_exactly(
    hours: int, minutes: int, seconds: int, millis: int
) -> None:
    exact = Decimal(hours * 3600 + minutes * 60 + seconds) + Decimal(millis) / 1000
    assert quantity.duration(f"{hours}h{minutes}m{seconds}s{millis}ms") == float(exact)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("256Mi", 268_435_456),
        ("1Gi", 1_073_741_824),
        ("64Ki", 65_536),
        ("1Ti", 1_099_511_627_776),
        ("512M", 512_000_000),
        ("2G", 2_000_000_000),
        ("1T", 1_000_000_000_000),
        ("1048576", 1_048_576),
        ("1.5Gi", 1_610_612_736),
        ("0.1Gi", 107_374_183),
    ],
)
def test_memory_is_read_in_bytes_as_kubernetes_does(text: str, amount: int) -> None:
    assert quantity.memory(text) == amount


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("256m", "m is a thousandth in Kubernetes and a mebibyte in Docker: write Mi"),
        ("64k", "k is 1000 in Kubernetes and 1024 in Docker: write Ki"),
        ("64K", "K is 1000 in Kubernetes and 1024 in Docker: write Ki"),
        ("1g", "write Gi"),
        ("512MB", "write Mi"),
        ("1GiB", "write Gi"),
    ],
)
def test_a_spelling_with_two_meanings_is_refused_with_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match="expected an amount of memory") as refusal:
        quantity.memory(text)
    assert str(refusal.value).endswith(hint)


@pytest.mark.parametrize("text", ["", "Mi", "-1Mi", "1 Mi", "1e6", "1Xi", "0x10", "1.2.3Mi"])
def test_what_is_not_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected an amount of memory such as 256Mi or 1Gi"):
        quantity.memory(text)


def test_more_memory_than_fits_a_signed_64_bit_number_is_refused() -> None:
    with pytest.raises(ValueError, match="more memory than can be counted"):
        quantity.memory("9999999999Gi")


@given(st.integers(0, 2**30), st.sampled_from([("", 0), ("Ki", 10), ("Mi", 20), ("Gi", 30)]))
def test_memory_in_a_binary_unit_is_read_back_exactly(n: int, unit: tuple[str, int]) -> None:
    name, shift = unit
    assert quantity.memory(f"{n}{name}") == n << shift


@pytest.mark.parametrize(
    ("text", "cores"), [("0.5", 0.5), ("500m", 0.5), ("2", 2.0), ("100m", 0.1), ("1500m", 1.5)]
)
def test_cpu_is_read_in_cores(text: str, cores: float) -> None:
    assert quantity.cpu(text) == cores


@pytest.mark.parametrize("text", ["", "m", "0.5m", "-1", "two", "1 core", "50%", "1e1"])
def test_what_is_not_an_amount_of_cpu_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a number of cores such as 0\.5, 2 or 500m"):
        quantity.cpu(text)


@given(st.integers(0, 999_999))
def test_millicores_and_cores_agree(n: int) -> None:
    assert quantity.cpu(f"{n}m") == quantity.cpu(f"{Decimal(n) / 1000:f}")


@pytest.mark.parametrize(
    ("text", "fraction"),
    [
        ("70%", 0.7),
        ("0.7", 0.7),
        ("70", 0.7),
        ("200%", 2.0),
        ("200", 2.0),
        ("1", 1.0),
        ("1%", 0.01),
        ("0.5%", 0.005),
        ("2", 0.02),
        ("1.5", 0.015),
    ],
)
def test_a_bare_ratio_is_a_fraction_up_to_one_and_a_percentage_above(
    text: str, fraction: float
) -> None:
    assert quantity.ratio(text) == fraction


@pytest.mark.parametrize("text", ["", "%", "70 %", "%70", "70%%", "-1%", "half"])
def test_what_is_not_a_ratio_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a ratio such as 70% or 0\.7"):
        quantity.ratio(text)


@given(st.integers(0, 10**9))
def test_a_percentage_is_a_hundredth_of_its_number(n: int) -> None:
    assert quantity.ratio(f"{n}%") == n / 100


@given(st.integers(0, 10**18 - 1))
def test_a_whole_number_is_read_back(n: int) -> None:
    assert quantity.whole(str(n)) == n


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0777",
        "0x10",
        "0o17",
        "1_000",
        "1:30",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "\u0663",
        " 1",
        "9" * 5000,
    ],
)
def test_a_whole_number_is_decimal_digits_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="expected a whole number in decimal digits"):
        quantity.whole(text)


def test_a_number_may_have_a_fraction_but_no_exponent() -> None:
    assert quantity.number("2.5") == 2.5
    assert quantity.number("10") == 10.0
    for text in ("1e3", ".inf", "nan", "-2", ""):
        with pytest.raises(ValueError, match=r"expected a number such as 10 or 2\.5"):
            quantity.number(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        (":8080", HostPort("", 8080)),
        ("127.0.0.1:8080", HostPort("127.0.0.1", 8080)),
        ("[::1]:8080", HostPort("::1", 8080)),
        ("[2001:DB8:0:0::1]:1", HostPort("2001:db8::1", 1)),
        ("localhost:65535", HostPort("localhost", 65535)),
        ("My_App.internal:80", HostPort("my_app.internal", 80)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: HostPort) -> None:
    assert quantity.host_port(text) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8080", "write :8080 for every interface"),
        ("http://127.0.0.1:8080", "not a URL"),
        ("127.0.0.1", "expected an address such as"),
        ("::1:8080", "expected an address such as"),
        ("[127.0.0.1]:80", "expected an address such as"),
        ("[]:80", "expected an address such as"),
        ("300.1.1.1:80", "expected an address such as"),
        ("1.2.3:80", "expected an address such as"),
        ("a..b:80", "expected an address such as"),
        ("-a:80", "expected an address such as"),
        ("*:80", "expected an address such as"),
        (":http", "expected an address such as"),
        ("", "expected an address such as"),
        (f"{'a.' * 200}a:80", "expected an address such as"),
        (":0", "the port must be 1 to 65535, not '0'"),
        (":65536", "the port must be 1 to 65535, not '65536'"),
    ],
)
def test_what_is_not_an_address_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        quantity.host_port(text)


@given(
    st.one_of(
        st.ip_addresses(v=4).map(str),
        st.ip_addresses(v=6).map(str),
        st.sampled_from(["", "localhost", "a-b.example"]),
    ),
    st.integers(1, 65535),
)
def test_an_address_survives_being_written_and_read(host: str, port: int) -> None:
    assert quantity.host_port(str(HostPort(host, port))) == HostPort(host, port)


def test_a_domain_is_lower_case_and_has_no_final_dot() -> None:
    assert quantity.domain("Hello.Example.COM.") == "hello.example.com"
    assert quantity.domain("localhost") == "localhost"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("*.example.com", "wildcards are not supported"),
        ("hello.example.com:8080", "without scheme, port or path"),
        ("https://hello.example.com", "without scheme, port or path"),
        ("hello.example.com/path", "without scheme, port or path"),
        ("bücher.example", "write the ASCII form (xn--...)"),
        ("\u212aelvin.example", "write the ASCII form (xn--...)"),  # lower() makes it a plain k
        ("my_app.example.com", "expected a host name such as"),
        ("-a.example", "expected a host name such as"),
        ("a..example", "expected a host name such as"),
        ("", "expected a host name such as"),
        ("a" * 64, "expected a host name such as"),
        ("a." * 127, "expected a host name such as"),
    ],
)
def test_what_is_not_a_domain_is_refused_with_the_reason(text: str, message: str) -> None:
    if text == "a." * 127:
        text += "ab"
    with pytest.raises(ValueError, match=re.escape(message)):
        quantity.domain(text)


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", IPv4Network("10.0.0.0/8")),
        ("10.1.2.3", IPv4Network("10.1.2.3/32")),
        ("fd00::/8", IPv6Network("fd00::/8")),
    ],
)
def test_a_network(text: str, network: object) -> None:
    assert quantity.network(text) == network


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("10.0.0.0/33", "expected an address or a network such as 10.0.0.0/8"),
        ("proxy.example.com", "expected an address or a network"),
        ("", "expected an address or a network"),
    ],
)
def test_what_is_no_network(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        quantity.network(text)


READERS = [
    quantity.duration,
    quantity.memory,
    quantity.cpu,
    quantity.ratio,
    quantity.number,
    quantity.whole,
    quantity.host_port,
    quantity.domain,
    quantity.network,
]


@given(st.sampled_from(READERS), st.text() | st.text("0123456789.%mMGkish:[]-", max_size=12))
def test_any_text_is_read_or_refused_on_one_line(reader: object, text: str) -> None:
    assert callable(reader)
    message = ""
    try:
        reader(text)
    except ValueError as refusal:
        message = str(refusal)
    assert len(message.splitlines()) <= 1
    assert len(message) < 800
