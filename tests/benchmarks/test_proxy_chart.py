"""The comparison as a picture."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks import proxy_chart
from benchmarks.proxy_chart import Bar
from tests.benchmarks.reports import report, row

SVG = "{http://www.w3.org/2000/svg}"


def texts(svg: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in svg.iter(f"{SVG}text")]


def bars(svg: ElementTree.Element) -> list[ElementTree.Element]:
    return [rect for rect in svg.iter(f"{SVG}rect") if rect.get("class") == "bar"]


def test_every_proxy_is_a_bar_as_long_as_its_ratio_to_nginx() -> None:
    whole = report(
        **{
            "(no proxy)": row(None),
            "wakeful": row(30),
            "wakeful, access log": row(33),
            "nginx": row(20, version="1.22.1"),
            "envoy": row(80, version="1.40.0-dev"),
        }
    )

    svg = ElementTree.fromstring(proxy_chart.draw(whole))

    values = [value.text for value in svg.iter(f"{SVG}tspan") if value.get("class") == "value"]
    assert values == ["1.00", "1.50", "1.65", "4.00"]
    widths = [float(bar.attrib["width"]) for bar in bars(svg)]
    assert [round(width / widths[0], 2) for width in widths] == [1.0, 1.5, 1.65, 4.0]
    labels = [text.text for text in svg.iter(f"{SVG}text") if text.get("text-anchor") == "end"]
    assert labels == [
        "nginx 1.22.1",
        "wakeful",
        "wakeful, access log",
        "envoy 1.40.0",
    ]
    assert len({bar.attrib["fill"] for bar in bars(svg)}) == 4  # each in the colour of its kind


def test_it_says_on_what_and_of_what_it_was_made() -> None:
    svg = ElementTree.fromstring(proxy_chart.draw(report(wakeful=row(30), nginx=row(20))))

    said = " ".join(texts(svg))
    assert "a <fast> & cheap CPU, 2 cores" in said
    assert "commit 0123456789ab" in said
    assert "today" in said
    assert "100-byte answers, 32 kept-alive connections" in said
    assert "2 interleaved rounds of 5 s" in said
    assert "wrk" in said


def test_nothing_that_it_is_given_is_taken_for_markup() -> None:
    nasty = "<&\"'>"

    svg = ElementTree.fromstring(
        proxy_chart.bar_chart(nasty, nasty, [Bar(nasty, 1.0, nasty)], [nasty])
    )

    assert svg.get("aria-label") == nasty
    assert texts(svg) == [nasty, nasty, nasty, f"1.00{nasty}", nasty]


def test_everything_lies_within_the_picture() -> None:
    long = [Bar("wakeful, 10,000 services", 123.45, "12345.6 us"), Bar("nginx", 0.5, "")]

    svg = ElementTree.fromstring(proxy_chart.bar_chart("", "", long, ["word " * 100]))

    width, height = float(svg.attrib["width"]), float(svg.attrib["height"])
    for bar in bars(svg):
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) < width - 100  # for the value
    assert all(float(text.attrib["y"]) < height for text in svg.iter(f"{SVG}text"))
