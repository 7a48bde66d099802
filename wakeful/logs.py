"""What the control plane says: lines for people on a terminal, JSON for everything else."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import TextIO

_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


class _PlainFormatter(logging.Formatter):
    """Time, a word where it is not routine, and the message."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        text = f"{clock} {level}{record.getMessage()}"
        if self._colour and (colour := _COLOURS.get(record.levelname)):
            text = f"{colour}{text}\x1b[0m"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure(style: str, level: str, stream: TextIO = sys.stderr) -> None:
    """``style`` is auto, text or json; auto is text on a terminal and json elsewhere."""
    terminal = stream.isatty()
    plain = style == "text" or (style == "auto" and terminal)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_PlainFormatter(terminal) if plain else _JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("docker", "urllib3", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
