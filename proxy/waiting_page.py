"""What a browser is shown while a service starts, instead of waiting for it.

Pure. The page asks for itself again until the service answers in its place. It
needs nothing but itself: no script, and no request besides.
"""

from __future__ import annotations

import re
from html import escape
from typing import Final

from wakeful.config.model import WaitingPage
from wakeful.events import Outage
from wakeful.proxy.framing import RequestHead
from wakeful.proxy.headers import first
from wakeful.proxy.reply import Reply, start_failed

# RFC 9110 §12.4.2: a weight of nothing says "not acceptable".
_UNWANTED: Final = re.compile(rb"q=0(?:\.0{0,3})?")


def navigates(head: RequestHead) -> bool:
    """Whether a browser asks for a page to show to somebody.

    What a script, a program or another page asks for is none: it would take
    the page for the answer. Old browsers do not say what a request is for.
    """
    if head.method != b"GET" or head.upgrade is not None or head.framing or head.length:
        return False
    mode = first(head.fields, b"sec-fetch-mode")
    return mode in (b"", b"navigate") and _accepts_html(head.fields)


def _accepts_html(fields: list[bytes]) -> bool:
    for at in range(0, len(fields), 4):
        if fields[at].lower() == b"accept":
            for element in fields[at + 2].lower().split(b","):
                media, *parameters = (part.strip() for part in element.split(b";"))
                if media == b"text/html" and not any(map(_UNWANTED.fullmatch, parameters)):
                    return True
    return False


def starting(settings: WaitingPage, service: str) -> Reply:
    seconds = int(settings.refresh)
    title = settings.title or f"{service} is starting"
    page = _page(title, "This page reloads by itself.", seconds)
    return Reply(503, "starting", "an instance is starting", seconds, page)


def failed(settings: WaitingPage, service: str, outage: Outage, now: float) -> Reply:
    """The start failed. It is tried again when somebody asks after the outage."""
    plain = start_failed(outage.reason, outage.detail, outage.until - now)
    seconds = max(int(settings.refresh), plain.retry_after or 0)
    text = f"{outage.detail}. The next try is in {seconds} s; this page reloads by itself."
    page = _page(f"{service} could not be started", text, seconds)
    return Reply(plain.status, plain.reason, plain.detail, seconds, page)


def _page(title: str, text: str, seconds: int) -> str:
    return _HTML.format(title=escape(title), text=escape(text), seconds=seconds)


_HTML: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="{seconds}">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }}
body {{ display: grid; min-height: 90vh; place-content: center; text-align: center; }}
h1 {{ font-size: 1.5rem; font-weight: 600; margin: 1rem; }}
i {{ width: 2rem; height: 2rem; margin: auto; border: 0.25rem solid; border-radius: 50%;
  border-right-color: transparent; animation: turn 1s linear infinite; }}
@keyframes turn {{ to {{ rotate: 1turn; }} }}
@media (prefers-reduced-motion) {{ i {{ animation: none; }} }}
</style>
</head>
<body>
<i></i>
<h1>{title}</h1>
<p>{text}</p>
</body>
</html>
"""
