"""The chaos itself, in namespaces of its own: python -m benchmarks.chaos_inside."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from docker.api.client import APIClient

import wakeful.demo
from benchmarks import chaos_namespaces
from benchmarks.chaos_engine import SOCKET, Engine
from benchmarks.chaos_events import Events
from benchmarks.chaos_ledger import judge
from benchmarks.chaos_load import FILLABLE, LIMITS, Load
from benchmarks.chaos_notes import Notes
from benchmarks.chaos_report import as_json, report
from benchmarks.chaos_schedule import schedule
from benchmarks.chaos_wakeful import PORT, Wakeful
from benchmarks.children import CannotMeasure
from wakeful.demo import image

_IMAGE = "wakeful-chaos:1"
_PATIENCE = 10.0
_ENGINE = ("dockerd", "containerd", "runc")


@dataclass(frozen=True, slots=True)
class Settings:
    folder: Path
    seed: int
    seconds: float
    apart: float  # seconds between two events
    keep: Path | None  # where what was written is kept


def run(settings: Settings) -> int:
    """0 when everything that has to be zero is."""
    engine = Engine(settings.folder)
    engine.start()
    os.environ["DOCKER_HOST"] = SOCKET
    app = Path(__file__).with_name("chaos_app.py")
    files = [app, *(Path(wakeful.demo.__file__).with_name(n) for n in ("serve.py", "echo.py"))]
    try:
        contents = {f"/app/{each.name}": each.read_bytes() for each in files}
        image.build(contents, ["python3"], tag=_IMAGE)
    except image.ImageError as error:
        raise CannotMeasure(str(error)) from None
    return asyncio.run(_run(settings, engine))


async def _run(settings: Settings, engine: Engine) -> int:
    notes = Notes(settings.folder / "notes")
    ours = Wakeful(settings.folder, notes.folder, _IMAGE)
    load = Load(PORT, settings.seed)
    events = Events(engine, ours, load, notes, settings.seed)
    try:
        await ours.start()
        load.start()
        await events.run(schedule(settings.seed, settings.seconds, settings.apart))
        await load.end()
        if ours.leaves:
            await ours.stop()
            await ours.start()  # finds them, and takes them along
        code = await ours.stop()
        left = await asyncio.to_thread(_left, engine, ours.owner)
        if code:
            left.append(f"wakeful, which ended with {code}")
        noted = notes.all()
        ledger = judge(load.sent, noted, events.troubles, LIMITS, FILLABLE, left)
    finally:
        events.close()
        if settings.keep is not None:
            _keep(settings.keep, settings.folder, load, events, notes)
    if settings.keep is not None:
        figures = as_json(settings.seed, settings.seconds, ledger, events.done, events.missed)
        (settings.keep / "ledger.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(report(settings.seed, settings.seconds, ledger, events.done, events.missed), flush=True)
    return 0 if ledger.clean else 1


def _left(engine: Engine, owner: str) -> list[str]:
    """What is there still, a moment later: the engine is not done when it says so."""
    client = engine.client()
    deadline = time.monotonic() + _PATIENCE
    try:
        while (left := _now_left(client, owner)) and time.monotonic() < deadline:
            time.sleep(0.2)
    finally:
        client.close()
    return left


def _now_left(client: APIClient, owner: str) -> list[str]:
    ours = {"label": f"wakeful.owner={owner}"}
    found: list[dict[str, Any]] = client.containers(all=True, filters=ours)
    networks: list[dict[str, Any]] = client.networks(filters=ours)
    return [
        *(f"container {each['Names'][0]} ({each['Status']})" for each in found),
        *(f"network {each['Name']}" for each in networks),
        *(f"process {command}" for command in _processes()),
    ]


def _processes() -> Iterator[str]:
    """Those that are neither ours nor the engine's; there are no others in here."""
    known = {1, os.getpid()}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in known:
            with suppress(FileNotFoundError, ProcessLookupError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                name = Path(os.fsdecode(words[0])).name
                # What it forgets of its own, a shim that holds nothing, is not wakeful's.
                if name and not name.startswith(_ENGINE):
                    yield os.fsdecode(b" ".join(words)).strip()


def _keep(keep: Path, folder: Path, load: Load, events: Events, notes: Notes) -> None:
    """What the ledger is made from, and what was said meanwhile."""
    keep.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        shutil.copy(log, keep)
    for name, values in (
        ("sent", load.sent),
        ("troubles", events.troubles),
        ("notes", notes.all()),
    ):
        lines = "".join(f"{json.dumps(asdict(value))}\n" for value in values)
        (keep / f"{name}.jsonl").write_text(lines)


def main(arguments: Sequence[str]) -> int:
    folder, seed, seconds, apart, *keep = arguments
    settings = Settings(
        Path(folder),
        int(seed),
        float(seconds),
        float(apart),
        Path(keep[0]) if keep else None,
    )
    chaos_namespaces.enter()
    code = chaos_namespaces.supervise()
    return run(settings) if code is None else code


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except CannotMeasure as error:
        print(f"Cannot measure: {error}", file=sys.stderr)
        sys.exit(1)
