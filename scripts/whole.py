"""The whole suite in two halves at once: what waits for programs and engines, and what computes.

Leaves .venv/tests-waiting.xml and .venv/tests-computing.xml, and the data of
coverage of the half that computes. What the other one says is shown at the end;
until then it is in .venv/tests-waiting.log.
"""

from __future__ import annotations

import subprocess
import sys

WAITING = ("tests/e2e", "tests/integration", "tests/benchmarks")


def main() -> int:
    pytest = (sys.executable, "-u", "-m", "pytest")
    with open(".venv/tests-waiting.log", "w+b") as said:
        waiting = subprocess.Popen(
            [*pytest, "--junitxml=.venv/tests-waiting.xml", *WAITING],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            computing = subprocess.run(
                [
                    *(*pytest, "--junitxml=.venv/tests-computing.xml", "--cov", "--cov-report="),
                    *(f"--ignore={folder}" for folder in WAITING),
                ]
            )
        finally:
            # A Ctrl-C reaches both.
            code = waiting.wait()
            said.seek(0)
            sys.stdout.buffer.write(said.read())
            sys.stdout.flush()
    return code or computing.returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
