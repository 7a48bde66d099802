"""The whole suite in two halves at once: what waits for programs and engines, and what computes.

Leaves .venv/tests-waiting.xml and .venv/tests-computing.xml, and the data of
coverage of both. What the half that waits says is shown at the end; until then it is
in .venv/tests-waiting.log.
"""

from __future__ import annotations

import os
import subprocess
import sys

COVERAGE = ("--cov", "--cov-report=")
WAITING = ("tests/e2e", "tests/integration", "tests/benchmarks")


def main() -> int:
    pytest = (sys.executable, "-u", "-m", "pytest")
    with open(".venv/tests-waiting.log", "w+b") as said:
        waiting = subprocess.Popen(
            [*pytest, "--junitxml=.venv/tests-waiting.xml", *COVERAGE, *WAITING],
            env=os.environ | {"COVERAGE_FILE": ".venv/coverage.waiting"},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            computing = subprocess.run(
                [
                    *(*pytest, "--junitxml=.venv/tests-computing.xml", *COVERAGE),
                    *(f"--ignore={folder}" for folder in WAITING),
                ],
                env=os.environ | {"COVERAGE_FILE": ".venv/coverage.computing"},
            )
        finally:
            # A Ctrl-C reaches both.
            code = waiting.wait()
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
    combined = subprocess.run(
        [
            *(sys.executable, "-m", "coverage", "combine", "--quiet"),
            *("--data-file=.venv/coverage", ".venv/coverage.waiting", ".venv/coverage.computing"),
        ]
    )
    return code or computing.returncode or combined.returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
