"""scripts/ sets itself up from what a machine has, once, and says in one line what it lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# An interpreter to find: it notes what it is asked to do, and makes environments that have
# itself in them. Run by its path, so that PATH can be empty but for what a test puts there.
PYTHON = """\
#!/bin/sh
case "$*" in
    *version_info*) exit {too_old} ;;
    *ensurepip*) exit {no_venv} ;;
esac
echo "{name}: $*" >>"{log}"
case "$*" in
    "-m venv "*)
        mkdir -p .venv/bin
        cp "$0" .venv/bin/python
        ;;
esac
"""


@dataclass
class Machine:
    """A checkout, and a PATH with only what a test says."""

    checkout: Path
    bin: Path
    log: Path

    def has_python(self, name: str, *, too_old: bool = False, no_venv: bool = False) -> None:
        text = PYTHON.format(name=name, log=self.log, too_old=int(too_old), no_venv=int(no_venv))
        self.has(name, text)

    def has(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def setup(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.checkout / "scripts" / "setup", *arguments],
            # PIP_: uv, if this machine has one, is not used where pip is configured.
            env={"PATH": str(self.bin), "HOME": str(self.bin), "PIP_NO_INDEX": "1", **env},
            cwd="/",
            capture_output=True,
            text=True,
        )

    def asked(self) -> list[str]:
        """What was run since the last time, and by which interpreter."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines

    def installed(self) -> list[str]:
        """What pip was to install since the last time."""
        return [line.rpartition(" ")[2] for line in self.asked() if " -m pip install " in line]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    checkout, programs = tmp_path / "check out", tmp_path / "bin"
    (checkout / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "setup", checkout / "scripts")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    programs.mkdir()
    for name in ("sh", "cat", "cksum", "cp", "dirname", "env", "grep", "mkdir", "rm"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    return Machine(checkout, programs, tmp_path / "log")


def test_the_newest_python_that_works_is_taken(machine: Machine) -> None:
    machine.has("python3.14", "#!/bin/sh\necho 'pyenv: command not found' >&2\nexit 127\n")
    machine.has_python("python3.13", too_old=True)
    machine.has_python("python3.12")
    machine.has_python("python3.11")
    assert machine.setup().returncode == 0
    assert machine.asked()[0] == "python3.12: -m venv .venv"


def test_a_python_that_can_make_environments_goes_before_a_newer_one_that_cannot(
    machine: Machine,
) -> None:
    machine.has_python("python3.13", no_venv=True)
    machine.has_python("python3")
    assert machine.setup().returncode == 0
    assert machine.asked()[0] == "python3: -m venv .venv"


def test_the_python_that_is_asked_for_is_taken(machine: Machine) -> None:
    machine.has_python("python3.14")
    machine.has_python("mine")
    assert machine.setup(PYTHON="mine").returncode == 0
    assert machine.asked()[0] == "mine: -m venv .venv"


def test_only_wheels_are_installed(machine: Machine) -> None:
    machine.has_python("python3")
    machine.setup("dev")
    assert machine.asked()[-1].endswith("--only-binary :all: --editable .[dev]")


def test_without_a_python_it_says_so_in_one_line(machine: Machine) -> None:
    machine.has_python("python3", too_old=True)
    done = machine.setup()
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [
        "scripts/setup: wakeful needs Python 3.11 or newer, and none was found"
    ]


def test_where_environments_cannot_be_made_it_says_which_package_is_missing(
    machine: Machine,
) -> None:
    machine.has_python("python3", no_venv=True)
    done = machine.setup()
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()[1:]
    assert "python3 cannot make virtual environments" in said
    assert "apt install python3-venv" in said


def test_when_pip_fails_it_is_not_taken_for_ready(machine: Machine) -> None:
    machine.has_python("python3")
    broken = PYTHON.replace("#!/bin/sh\n", '#!/bin/sh\ncase "$*" in *install*) exit 1;; esac\n', 1)
    machine.has("python3", broken.format(name="python3", log=machine.log, too_old=0, no_venv=0))
    assert machine.setup().returncode == 1
    shutil.rmtree(machine.checkout / ".venv")
    machine.has_python("python3")
    assert machine.setup().returncode == 0
    assert machine.installed() == [".[dev]"]


def test_the_second_time_nothing_is_run(machine: Machine) -> None:
    machine.has_python("python3")
    machine.setup("dev")
    machine.asked()
    done = machine.setup("dev")
    assert done.returncode == 0
    assert done.stderr == ""
    assert machine.asked() == []


def test_what_the_checks_need_is_enough_to_run_and_not_the_other_way_round(
    machine: Machine,
) -> None:
    machine.has_python("python3")
    machine.setup("run")
    assert machine.installed() == ["."]
    machine.setup("dev")
    assert machine.installed() == [".[dev]"]
    machine.setup("run")
    assert machine.installed() == []


def test_a_changed_pyproject_is_installed_into_the_same_environment(machine: Machine) -> None:
    machine.has_python("python3")
    machine.setup()
    machine.asked()
    with (machine.checkout / "pyproject.toml").open("a") as project:
        project.write("# changed\n")
    machine.setup()
    asked = machine.asked()
    assert not [line for line in asked if "-m venv" in line]
    assert asked[-1].endswith(".[dev]")


def test_a_checkout_that_was_moved_makes_its_environment_anew(machine: Machine) -> None:
    machine.has_python("python3")
    machine.setup()
    machine.asked()
    machine.checkout = machine.checkout.rename(machine.checkout.with_name("elsewhere"))
    assert machine.setup().returncode == 0
    assert machine.asked()[0] == "python3: -m venv .venv"


def test_a_word_it_does_not_know_is_refused(machine: Machine) -> None:
    machine.has_python("python3")
    done = machine.setup("prod")
    assert done.returncode == 1
    assert "usage" in done.stderr
    assert machine.asked() == []


# What scripts/test says after the tests

TESTS = """\
import pytest

def test_that_passes(): pass

@pytest.mark.parametrize("n", range(3))
def test_that_is_skipped(n): pytest.skip("no Docker engine: there is none")

@pytest.mark.xfail
def test_that_is_expected_to_fail(): assert False
"""


def said_after(tmp_path: Path, *selection: str) -> str:
    """After a real run of pytest."""
    (tmp_path / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    report = tmp_path / "report.xml"
    done = run_python(tmp_path, "-m", "pytest", f"--junitxml={report}", *selection)
    assert done.returncode == 0, done.stdout
    return say_skipped(report)


def say_skipped(*reports: Path) -> str:
    script = ROOT / "scripts" / "skipped.py"
    return subprocess.check_output([sys.executable, script, *reports], text=True)


def test_what_was_skipped_is_said_with_its_reason(tmp_path: Path) -> None:
    assert said_after(tmp_path) == "skipped: 3 tests (no Docker engine: there is none)\n"


def test_that_nothing_was_skipped_is_said_too(tmp_path: Path) -> None:
    assert said_after(tmp_path, "-k", "passes or fail") == "nothing was skipped\n"


def test_the_reports_of_all_parts_are_read(tmp_path: Path) -> None:
    one, other = tmp_path / "report.xml", tmp_path / "other.xml"
    said_after(tmp_path)
    shutil.copy(one, other)
    assert say_skipped(one, other) == "skipped: 6 tests (no Docker engine: there is none)\n"


def test_a_run_that_left_no_report_is_not_taken_for_one_without_skips(tmp_path: Path) -> None:
    assert "not known" in say_skipped(tmp_path / "none.xml")


# The branches of the pure modules

MODULE = """\
def sign(n):
    if n < 0:
        return "-"
    if n > 0:
        return "+"
    return ""
"""

PROJECT = """\
[tool.coverage.run]
branch = true
source = ["scaler"]

[[tool.importlinter.contracts]]
name = "decisions are pure"
source_modules = ["wakeful.scaler.sign"]
"""


def try_module(checkout: Path, *numbers: int) -> None:
    """Leave the data of coverage for a module that was called with these numbers."""
    (checkout / "scaler").mkdir()
    (checkout / "scaler" / "sign.py").write_text(MODULE)
    (checkout / "pyproject.toml").write_text(PROJECT)
    trial = checkout / "trial.py"
    trial.write_text(f"from scaler.sign import sign\nfor n in {numbers}: sign(n)\n")
    run_python(checkout, "-m", "coverage", "run", "trial.py")


def covered(checkout: Path) -> subprocess.CompletedProcess[str]:
    return run_python(checkout, str(ROOT / "scripts" / "covered.py"))


def run_python(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Without what the run that this test is part of was told.
    env = {key: text for key, text in os.environ.items() if not key.startswith(("COV", "PYTEST"))}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True)


def test_covered_branches_pass(tmp_path: Path) -> None:
    try_module(tmp_path, -1, 0, 1)
    done = covered(tmp_path)
    assert done.stdout == "pure modules: 4 of 4 branches are covered\n"
    assert done.returncode == 0


def test_a_pure_module_with_too_few_covered_branches_is_named_and_fails(tmp_path: Path) -> None:
    try_module(tmp_path, 0, 1)
    done = covered(tmp_path)
    assert "scaler/sign.py: 75 % of its branches are covered, not 90 %" in done.stdout
    assert done.returncode == 1


def test_a_pure_module_in_the_package_s_own_folder_is_found(tmp_path: Path) -> None:
    try_module(tmp_path, -1, 0, 1)
    (tmp_path / "scaler").rename(tmp_path / "moved")
    (tmp_path / "wakeful").mkdir()
    (tmp_path / "moved").rename(tmp_path / "wakeful" / "inner")
    listed = PROJECT.replace("wakeful.scaler.sign", "wakeful.inner.sign")
    (tmp_path / "pyproject.toml").write_text(listed.replace('["scaler"]', '["wakeful"]'))
    (tmp_path / "trial.py").write_text("from wakeful.inner.sign import sign\nsign(0)\n")
    run_python(tmp_path, "-m", "coverage", "run", "trial.py")
    assert "wakeful/inner/sign.py: 50 %" in covered(tmp_path).stdout


def test_a_pure_module_that_no_test_imports_fails(tmp_path: Path) -> None:
    try_module(tmp_path, -1, 0, 1)
    (tmp_path / "scaler" / "more.py").write_text("ANSWER = 42\n")
    listed = PROJECT.replace('sign"]', 'sign", "wakeful.scaler.more"]')
    (tmp_path / "pyproject.toml").write_text(listed)
    done = covered(tmp_path)
    assert "scaler/more.py: 0 %" in done.stdout
    assert done.returncode == 1
