"""What one client may ask of the proxy, so that many of them find room."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a client may make the proxy hold; bytes and seconds."""

    target: int = 16 * 1024
    head: int = 64 * 1024
    fields: int = 128
    buffer: int = 64 * 1024  # of a body, while nothing takes it
    head_timeout: float = 10.0
    idle_timeout: float = 75.0
    linger: float = 2.0
    pool_idle: float = 60.0

    def __post_init__(self) -> None:
        if self.head < self.target:
            raise ValueError("a head holds its target")
