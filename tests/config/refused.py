"""What is said of a file that is refused."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from wakeful.config.load import ConfigError, loads


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as refusal:
        loads(dedent(text), Path("/etc/wakeful"), "f")
    return str(refusal.value).splitlines()


def service_fault(body: str) -> str:
    """What is said about a service with one line more than an image."""
    [fault] = faults(f"services:\n  a:\n    image: x\n    {body}\n")
    return fault
