from __future__ import annotations

import ast
from pathlib import Path

import pytest

import wakeful.config

FOLDER = Path(wakeful.config.__file__).parent
PURE = {
    *("model", "quantity", "nodes", "report", "readers", "container", "values", "waking"),
    *("schema", "misspelt", "override", "parse", "fit", "diff", "essence", "knative"),
}
IMPURE = {"asyncio", "time", "random", "docker", "os", "io", "socket", "subprocess", "shutil"}


@pytest.mark.parametrize(
    "name",
    sorted(PURE),
)
def test_only_load_reaches_outside(name: str) -> None:
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.partition(".")[0])
    assert not imported & IMPURE
    calls = {
        n.func.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert not calls & {"open", "print", "input"}


def test_every_file_of_the_layer_is_looked_at() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} - {"__init__"} == PURE | {"load"}
