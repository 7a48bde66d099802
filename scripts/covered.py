"""Whether the tests cover the branches of the pure modules. Reads the data of coverage.

Which modules are pure is said once, in the import contract of pyproject.toml.
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import coverage

CONTRACT = "decisions are pure"
WANTED = 90  # percent, of each module on its own


def main() -> int:
    covered = _summaries()
    branches = hit = 0
    short = []
    for module in _pure_modules():
        file = _file(module)
        summary = covered.get(file, {"num_branches": 0, "covered_branches": 0, "covered_lines": 0})
        branches += summary["num_branches"]
        hit += summary["covered_branches"]
        percent = _percent(summary)
        if percent < WANTED:
            short.append(f"{file}: {percent:.0f} % of its branches are covered, not {WANTED} %")
    print(f"pure modules: {hit} of {branches} branches are covered")
    print(*short, sep="\n", end="\n" * bool(short))
    return 1 if short else 0


def _pure_modules() -> list[str]:
    project = tomllib.loads(Path("pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (modules,) = (one["source_modules"] for one in contracts if one["name"] == CONTRACT)
    return list(modules)


def _file(module: str) -> str:
    """Its path in the checkout: a layer lies at the top, the rest of the package in wakeful/."""
    layer = module.removeprefix("wakeful.").replace(".", "/") + ".py"
    return layer if Path(layer).exists() else f"wakeful/{layer}"


def _summaries() -> dict[str, dict[str, Any]]:
    """What coverage knows of each file, by its path in the checkout."""
    data = coverage.Coverage()
    data.load()
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        data.json_report(outfile=report.name)
        files = json.load(report)["files"]
    return {file: known["summary"] for file, known in files.items()}


def _percent(summary: dict[str, Any]) -> float:
    """Of the branches; a module without any is covered when it was imported at all."""
    if summary["num_branches"]:
        return float(100 * summary["covered_branches"] / summary["num_branches"])
    return 100.0 if summary["covered_lines"] else 0.0


if __name__ == "__main__":
    sys.exit(main())
