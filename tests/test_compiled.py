"""wakeful as pip installs it with a C compiler: what is compiled, and the same tests."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import wakeful
from tests.built import (
    ROOT,
    backend,
    copy_checkout,
    files_of,
    install,
    make_sdist,
    make_wheel,
    run_installed,
)
from tests.test_packaging import sources

# The first of them compiles.
pytestmark = pytest.mark.timeout(900)

COMPILED: set[str] = set(runpy.run_path(str(ROOT / "setup.py"))["COMPILED"])
NOTHING_SAID = {"WAKEFUL_COMPILE": ""}

# Random ones are looked for at length in the run of the source.
FEWER = {"WAKEFUL_FUZZ_EXAMPLES": "100", "WAKEFUL_INTERLEAVINGS": "50"}


def cannot_compile() -> str | None:
    """Why not, if so."""
    command = str(sysconfig.get_config_var("CC") or "cc").split()
    if shutil.which(command[0]) is None:
        return f"no C compiler: {command[0]} was not found"
    program = f'#include "{sysconfig.get_path("include")}/Python.h"\n'
    tried = subprocess.run(
        [*command, "-fsyntax-only", "-x", "c", "-", f"-I{sysconfig.get_path('include')}"],
        input=program,
        capture_output=True,
        text=True,
    )
    return None if tried.returncode == 0 else f"no Python.h that {command[0]} can read"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if reason := cannot_compile():
        pytest.skip(reason)
    tmp = tmp_path_factory.mktemp("compiled")
    # Of an sdist, which has no links from wakeful/ to the layers.
    return make_wheel(make_sdist(tmp), tmp, **NOTHING_SAID)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(wheel, tmp_path_factory.mktemp("installed"))


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The tests, and what they read, without the source that is otherwise beside them."""
    for folder in ("tests", "benchmarks", "docs"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_wheel_has_the_source_too_and_nothing_beside_the_package(wheel: Path) -> None:
    files = files_of(wheel)
    assert {name for name in files if name.endswith(".py")} == sources()
    assert {name.partition("/")[0] for name in files} == {
        "wakeful",
        f"wakeful-{wakeful.__version__}.dist-info",
    }
    assert not wheel.name.endswith("-none-any.whl")


def test_the_modules_that_setup_py_names_are_compiled_and_no_others(wheel: Path) -> None:
    libraries = {name for name in files_of(wheel) if name.endswith(".so")}
    shared, *_ = (name for name in libraries if "__mypyc" in name)
    modules = {name.partition(".")[0] + ".py" for name in libraries - {shared}}
    assert modules == COMPILED


def test_what_is_imported_is_the_compiled_one(installed: Path) -> None:
    names = sorted(file.removesuffix(".py").replace("/", ".") for file in COMPILED)
    script = f"import {', '.join(names)}; print(*(m.__file__ for m in ({', '.join(names)},)))"
    files = run_installed(installed, "python", "-c", script).split()
    assert len(files) == len(names)
    assert [file for file in files if not file.endswith(EXTENSION_SUFFIXES[0])] == []


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_it_says_that_it_is_compiled(installed: Path, asked: str) -> None:
    said = run_installed(installed, "wakeful", asked)
    assert said == f"wakeful {wakeful.__version__} (compiled)\n"


def test_it_passes_the_tests_of_whatever_calls_the_path(installed: Path, suite: Path) -> None:
    arguments = ["-P", "-m", "pytest", "-p", "no:cacheprovider"]
    said = run_installed(
        installed,
        "python",
        *(*arguments, "tests/proxy", "tests/conformance", "tests/simulate", "tests/test_scrape.py"),
        cwd=suite,
        timeout=880,
        env=FEWER,
    )
    (tested,) = (line for line in said.splitlines() if line.startswith("wakeful: "))
    assert tested.startswith(f"wakeful: {installed}")
    assert tested.endswith(EXTENSION_SUFFIXES[0])
    assert " passed" in said.splitlines()[-1]


# What asks for it, and what does not


def test_a_build_needs_a_compiler_of_types_where_there_is_one_of_c(tmp_path: Path) -> None:
    checkout, hook = copy_checkout(tmp_path), "get_requires_for_build_wheel"
    needed = "[]" if cannot_compile() else "['mypy==2.4.*']"
    assert backend(hook, checkout, **NOTHING_SAID) == needed
    assert backend(hook, checkout, CC="/nowhere/cc", **NOTHING_SAID) == "[]"
    assert backend(hook, checkout, WAKEFUL_COMPILE="0") == "[]"
    assert backend(hook, checkout, CC="/nowhere/cc", WAKEFUL_COMPILE="1") == "['mypy==2.4.*']"


def test_a_build_that_has_no_compiler_of_types_takes_the_source_as_it_is(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import importlib.util as u; had = u.find_spec\n"
        "u.find_spec = lambda name, *more: None if name == 'mypyc' else had(name, *more)\n"
    )
    source = copy_checkout(tmp_path / "checkout")
    wheel = make_wheel(source, tmp_path, PYTHONPATH=str(hidden), **NOTHING_SAID)
    assert wheel.name.endswith("-none-any.whl")


def test_without_a_compiler_the_source_is_installed_as_it_is(tmp_path: Path) -> None:
    source = copy_checkout(tmp_path / "checkout")
    wheel = make_wheel(source, tmp_path, CC="/nowhere/cc", **NOTHING_SAID)
    assert wheel.name.endswith("-none-any.whl")


@pytest.mark.parametrize(
    ("hook", "setting", "complaint"),
    [
        ("build_editable", "1", "an editable install runs the source as it is"),
        ("build_wheel", "yes", "WAKEFUL_COMPILE is 1 (compile) or 0 (do not), not 'yes'"),
    ],
)
def test_what_cannot_be_had_is_refused(
    tmp_path: Path, hook: str, setting: str, complaint: str
) -> None:
    with pytest.raises(AssertionError) as refused:
        backend(hook, copy_checkout(tmp_path), tmp_path, WAKEFUL_COMPILE=setting)
    assert complaint in str(refused.value)
    assert not list(tmp_path.glob("*.whl"))
