"""Where on the network one instance is put, as values."""

from __future__ import annotations

from dataclasses import dataclass

from wakeful.runtime.instance import Address
from wakeful.runtime.reach import Way


@dataclass(frozen=True, slots=True)
class Place:
    mode: str  # the container's NetworkMode, as the engine has it
    port: int  # where the instance is told to listen
    way: Way  # how it is reached
    address: Address | None = None  # where it is reached, if that is known before it starts
