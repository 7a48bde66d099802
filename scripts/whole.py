"""The whole suite in three parts at once: what computes, and what waits for programs and engines.

Each part leaves .venv/tests-NAME.xml and its data of coverage. What the parts that wait
say is shown at the end; until then it is in .venv/tests-NAME.log.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack

COVERAGE = ("--cov", "--cov-report=")
IDLE = "tests/e2e/test_idle.py"  # a fifth of its folder's time
WAITING = {
    "programs": ("tests/e2e", f"--ignore={IDLE}"),
    "engines": ("tests/integration", "tests/benchmarks", IDLE),
}
COMPUTING = "computing"


def main() -> int:
    codes = []
    with ExitStack() as stack:
        waiting = {}
        for name, arguments in WAITING.items():
            said = stack.enter_context(open(f".venv/tests-{name}.log", "w+b"))
            child = subprocess.Popen(
                [*command(name), *arguments],
                env=environment(name),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            waiting[child] = said
        try:
            elsewhere = (path for paths in WAITING.values() for path in paths)
            others = (f"--ignore={path}" for path in elsewhere if path.startswith("tests/"))
            computing = subprocess.run(
                [*command(COMPUTING), *others], env=environment(COMPUTING), check=False
            )
            codes.append(computing.returncode)
        finally:
            # A Ctrl-C reaches all of them.
            for child, said in waiting.items():
                codes.append(child.wait())
                said.seek(0)
                sys.stdout.buffer.write(said.read())
                sys.stdout.flush()
    combined = subprocess.run(
        [
            *(sys.executable, "-m", "coverage", "combine", "--quiet"),
            "--data-file=.venv/coverage",
            *(data(name) for name in (*WAITING, COMPUTING)),
        ],
        check=False,
    )
    codes.append(combined.returncode)
    return max(codes, key=abs)


def command(name: str) -> tuple[str, ...]:
    return (sys.executable, "-u", "-m", "pytest", f"--junitxml=.venv/tests-{name}.xml", *COVERAGE)


def environment(name: str) -> dict[str, str]:
    return os.environ | {"COVERAGE_FILE": data(name)}


def data(name: str) -> str:
    return f".venv/coverage.{name}"


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
