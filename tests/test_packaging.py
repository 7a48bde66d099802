"""What is in the checkout, in the distributions made of it, and where one is installed."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

import wakeful
from tests.built import LAYERS, ROOT, files_of, install, make_sdist, make_wheel, run_installed

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def sources() -> set[str]:
    """Every module of the checkout, by the path it is imported under."""
    found = {
        f"wakeful/{file.relative_to(ROOT / 'wakeful')}"
        for folder in ("", "admin", "demo", "simulate")
        for file in (ROOT / "wakeful" / folder).glob("*.py")
    }
    found |= {f"wakeful/{layer}/{file.name}" for layer in LAYERS for file in layer_files(layer)}
    return found


def layer_files(layer: str) -> list[Path]:
    return list((ROOT / layer).glob("*.py"))


@dataclass(frozen=True)
class Distributions:
    sdist: list[str]  # its files, without the folder they are in
    wheel: Path

    def metadata(self) -> Message:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
            return email.message_from_bytes(archive.read(name))


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """The sdist made of the checkout, and the wheel made of what is in that sdist."""
    tmp = tmp_path_factory.mktemp("distributions")
    unpacked = make_sdist(tmp)
    files = [str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if not path.is_dir()]
    return Distributions(files, make_wheel(unpacked, tmp, WAKEFUL_COMPILE="0"))


@pytest.fixture(scope="module")
def installed(distributions: Distributions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(distributions.wheel, tmp_path_factory.mktemp("installed"))


# The checkout


def test_every_package_of_the_tree_is_listed_and_no_other() -> None:
    packages = {
        file.removesuffix("/__init__.py").replace("/", ".")
        for file in sources()
        if file.endswith("/__init__.py")
    }
    assert sorted(packages) == PROJECT["tool"]["setuptools"]["packages"]


def test_no_source_is_outside_the_folders_that_are_listed() -> None:
    everywhere = {
        file.relative_to(ROOT)
        for folder in ("wakeful", *LAYERS)
        for file in (ROOT / folder).rglob("*.py")
        if not any(parent.is_symlink() for parent in file.parents)
    }
    assert len(everywhere) == len(sources())


@pytest.mark.parametrize("layer", LAYERS)
def test_each_layer_is_reached_through_a_relative_link_and_mapped_for_builds(layer: str) -> None:
    link = ROOT / "wakeful" / layer
    assert link.is_symlink()
    assert os.readlink(link) == f"../{layer}"
    assert PROJECT["tool"]["setuptools"]["package-dir"][f"wakeful.{layer}"] == layer


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("statement", ["import {0}", "import {0}.x", "from {0}.x import y"])
def test_a_layer_imported_by_its_bare_name_does_not_pass_the_checks(
    layer: str, statement: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--stdin-filename", "wakeful/x.py", "-"],
        input=statement.format(layer) + "\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"import wakeful.{layer}" in done.stdout
    assert "TID251" in done.stdout


# The distributions


def test_the_sdist_keeps_the_layout_of_the_checkout(distributions: Distributions) -> None:
    assert {f"{layer}/__init__.py" for layer in LAYERS} <= set(distributions.sdist)
    assert not [name for name in distributions.sdist if name.startswith("wakeful/proxy")]
    assert {"pyproject.toml", "setup.py", "README.md", "LICENSE"} <= set(distributions.sdist)


def test_the_wheel_has_every_module_under_wakeful_and_nothing_beside_it(
    distributions: Distributions,
) -> None:
    files = files_of(distributions.wheel)
    assert {name for name in files if name.endswith(".py")} == sources()
    assert {name.partition("/")[0] for name in files} == {
        "wakeful",
        f"wakeful-{wakeful.__version__}.dist-info",
    }


def test_the_wheel_is_for_every_platform(distributions: Distributions) -> None:
    assert distributions.wheel.name == f"wakeful-{wakeful.__version__}-py3-none-any.whl"


def test_the_wheel_has_the_programs_of_the_demo_and_says_that_it_is_typed(
    distributions: Distributions,
) -> None:
    services = {f"wakeful/demo/{name}.py" for name in ("serve", "hello", "slow", "echo")}
    assert services | {"wakeful/py.typed"} <= files_of(distributions.wheel)


def test_the_wheel_says_its_version_its_licence_and_what_it_needs(
    distributions: Distributions,
) -> None:
    metadata = distributions.metadata()
    assert metadata["Version"] == wakeful.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    required = {one for one in metadata.get_all("Requires-Dist", []) if "extra ==" not in one}
    assert required == set(PROJECT["project"]["dependencies"])
    licence = f"wakeful-{wakeful.__version__}.dist-info/licenses/LICENSE"
    assert licence in files_of(distributions.wheel)


# The wheel, installed alone


def test_the_installed_program_runs(installed: Path) -> None:
    assert run_installed(installed, "wakeful", "version") == f"wakeful {wakeful.__version__}\n"
    assert "--once" in run_installed(installed, "wakeful", "demo", "--help")


def test_the_installed_program_checks_a_file(installed: Path) -> None:
    (installed / "wakeful.yaml").write_text('services: {web: {upstreams: ["127.0.0.1:9001"]}}\n')
    assert "OK (1 service)" in run_installed(installed, "wakeful", "validate")


def test_the_installed_layers_are_the_wheels_own(installed: Path) -> None:
    names = ", ".join(f"wakeful.{layer}" for layer in LAYERS)
    script = (
        f"import wakeful.proxy.server, wakeful.app, {names}; print(wakeful.proxy.server.__file__)"
    )
    where = run_installed(installed, "python", "-c", script).strip()
    assert Path(where).is_relative_to(installed)


def test_an_installed_wakeful_takes_no_other_name(installed: Path) -> None:
    script = "import importlib.util as u; print([n for n in '{}'.split() if u.find_spec(n)])"
    found = run_installed(installed, "python", "-c", script.format(" ".join(LAYERS)))
    assert found == "[]\n"
