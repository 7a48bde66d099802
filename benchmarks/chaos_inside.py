"""The chaos itself, in namespaces of its own: python -m benchmarks.chaos_inside."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import wakeful.demo
from benchmarks import chaos_namespaces
from benchmarks.chaos_engine import SOCKET, Engine
from benchmarks.chaos_events import Events
from benchmarks.chaos_ledger import judge
from benchmarks.chaos_left import Left, left
from benchmarks.chaos_load import FILLABLE, LIMITS, Load
from benchmarks.chaos_notes import Notes
from benchmarks.chaos_report import Made, as_json, report
from benchmarks.chaos_schedule import schedule
from benchmarks.chaos_wakeful import PORT, Wakeful
from benchmarks.children import CannotMeasure
from wakeful.demo import image

_IMAGE = "wakeful-chaos:1"


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
        found = await asyncio.to_thread(_look, engine, settings.folder.name)
        if code:
            found.ours.append(f"wakeful, which ended with {code}")
        ledger = judge(
            load.sent,
            notes.all(),
            events.troubles,
            LIMITS,
            FILLABLE,
            found.ours,
            {each.instance for each in found.forgotten},
        )
    finally:
        events.close()
        if settings.keep is not None:
            _keep(settings.keep, settings.folder, load, events, notes)
    made = Made(settings.seed, settings.seconds, events.done, events.missed, found.forgotten)
    if settings.keep is not None:
        figures = json.dumps(as_json(made, ledger), indent=1)
        (settings.keep / "ledger.json").write_text(f"{figures}\n")
    print(report(made, ledger), flush=True)
    return 0 if ledger.clean else 1


def _look(engine: Engine, cgroup: str) -> Left:
    client = engine.client()
    try:
        return left(client, cgroup)
    finally:
        client.close()


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
