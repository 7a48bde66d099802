"""The files of chaos_app.py: read while it runs to see who is busy, and whole at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.chaos_record import Note


class Notes:
    """A file for each instance, named SERVICE.INSTANCE, in a folder that all may write to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)  # whatever the umask says: containers run as nobody

    def busy(self) -> set[str]:
        """Instances that have a request in them."""
        found = set()
        for path in self.folder.iterdir():
            inside: set[str] = set()
            for note in _read(path):
                if note.what == "begun":
                    inside.add(note.id)
                elif note.what in ("left", "cut"):
                    inside.discard(note.id)
                elif note.what == "told":
                    inside.clear()
            if inside:
                found.add(path.name.partition(".")[2])
        return found

    def all(self) -> list[Note]:
        """In the order of time."""
        return sorted(
            (note for path in self.folder.iterdir() for note in _read(path)),
            key=lambda note: note.at,
        )


def _read(path: Path) -> Iterator[Note]:
    service, _, instance = path.name.partition(".")
    for line in path.read_text().splitlines():
        at, what, name = line.split(" ")
        yield Note(float(at), service, instance, what, name)
