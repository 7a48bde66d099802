"""What befalls few requests, kept apart so that the others need not carry it."""

from __future__ import annotations

from wakeful.proxy.wake_filters import Rule


class Unusual:
    """Of a request that was not just passed to an instance and answered by it."""

    __slots__ = ("attempts", "cold", "crossed", "ignored", "reason", "sent_at")

    def __init__(self) -> None:
        self.reason = ""  # of an answer of our own
        self.ignored: Rule | None = None  # the wake filter that it fell under
        self.cold = False  # it came when no instance was ready
        self.sent_at = 0.0  # when its head was written to an instance, if it is cold
        self.crossed = False  # a kept connection ended with it, and it went over another
        self.attempts = 0  # that ended with an instance that is not there
