"""Replays recorded decisions of Knative's autoscaler through ours.

    python benchmarks/replay_knative.py DIR

DIR holds trace files (*.json, or in DIR/traces) and may hold a vectors.json.
Prints one line for each; exits 1 unless every number is the same.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

if not __package__:  # run as a file: imports start from the repository
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks import knative_vectors
from benchmarks.knative_settings import Malformed
from benchmarks.knative_trace import is_trace, load, parse, replay


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 0 if arguments in (["-h"], ["--help"]) else 2
    directory = Path(arguments[0])
    files = trace_files(directory)
    if not files:
        print(f"{directory}: expected trace files: *.json, here or in {directory / 'traces'}")
        return 1
    verdicts = [verdict for path in files for verdict in _replay_file(path)]
    return 0 if all(verdicts) else 1


def trace_files(directory: Path) -> list[Path]:
    return sorted([*directory.glob("*.json"), *directory.glob("traces/*.json")])


def _replay_file(path: Path) -> Iterator[bool]:
    try:
        content = load(path)
        if isinstance(content, dict) and "vectors" in content and not is_trace(content):
            yield from _replay_vectors(content)
        else:
            yield _replay_trace(content, path.stem)
    except Malformed as error:
        print(f"{path.stem} MALFORMED {error}")
        yield False


def _replay_trace(content: object, name: str) -> bool:
    trace = parse(content, name)
    difference = replay(trace)
    if difference:
        print(f"{name} DIFFERS at {difference}")
        return False
    print(f"{name} ok {len(trace.ticks)}/{len(trace.ticks)}")
    return True


def _replay_vectors(content: object) -> Iterator[bool]:
    for component in sorted(knative_vectors.COMPONENTS):
        vectors = knative_vectors.of_component(content, component)
        applicable = [each for each in vectors if not knative_vectors.not_applicable(each)]
        if not applicable:
            continue
        wrong = [
            f"{knative_vectors.label(each)} DIFFERS in {found[0]}"
            for each in applicable
            if (found := knative_vectors.differences(each))
        ]
        right = len(applicable) - len(wrong)
        aside = len(vectors) - len(applicable)
        note = f" ({aside} not applicable on one host)" if aside else ""
        verdict = "DIFFERS" if wrong else "ok"
        print(f"vectors {component} {verdict} {right}/{len(applicable)}{note}")
        for line in wrong:
            print(f"  {line}")
        yield not wrong
    for component, reason in sorted(knative_vectors.ELSEWHERE.items()):
        if vectors := knative_vectors.of_component(content, component):
            print(f"vectors {component} not replayed ({len(vectors)}): {reason}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
