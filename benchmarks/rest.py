"""What wakeful costs while everything sleeps: python benchmarks/rest.py.

A wakeful with many services, none of which runs. Some are asked once first, so
that the figures are those of a wakeful that has served and not of one that was
only started.
"""

from __future__ import annotations

import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import wakeful.demo
from benchmarks.children import CannotMeasure, Child, free_port, started
from benchmarks.machine import describe

_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Rest:
    services: int
    asked: int  # of them, once, before
    seconds: float
    cpu: float  # seconds of processor time in them
    rss: int  # bytes

    def __str__(self) -> str:
        return (
            f"{self.services} services asleep, {self.asked} of them woken once before: "
            f"{self.cpu:.2f} s of CPU in {self.seconds:.0f} s "
            f"({100 * self.cpu / self.seconds:.2f} % of a core), {self.rss / 2**20:.1f} MiB RSS"
        )


def measure(services: int, asked: int, seconds: float) -> Rest:
    """Raises CannotMeasure."""
    with tempfile.TemporaryDirectory(prefix="wakeful-rest-") as name:
        folder, port, admin = Path(name), free_port(), free_port()
        (folder / "wakeful.yaml").write_text(_definition(services, port, admin))
        command = [sys.executable, "-m", "wakeful", "run", "-c", "wakeful.yaml"]
        with started(command, folder, name="wakeful") as child:
            _wait(child, lambda: _ask(admin, "/readyz")[0] == 200, "ready")
            for number in range(asked):
                status, _ = _ask(port, "/", host=f"s{number}.localhost")
                if status != 200:
                    raise CannotMeasure(f"s{number} was answered with {status}\n{child.output()}")
            _wait(child, lambda: _asleep(admin), "asleep")
            time.sleep(1)
            before, began = child.cpu(), time.monotonic()
            time.sleep(seconds)
            took = time.monotonic() - began
            return Rest(services, asked, took, child.cpu() - before, child.rss())


def _definition(services: int, port: int, admin: int) -> str:
    program = Path(wakeful.demo.__file__).with_name("hello.py")
    command = json.dumps([sys.executable, "-S", str(program)])
    return "\n".join(
        (
            f'listen: "127.0.0.1:{port}"',
            f'admin: "127.0.0.1:{admin}"',
            "runtime: process",
            "state-dir: state",
            "defaults: {scale: {window: 6s}, idle: {stop-after: 0s}}",
            "services:",
            *(f"  s{number}: {{command: {command}}}" for number in range(services)),
        )
    )


def _wait(child: Child, condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if not child.alive or time.monotonic() > deadline:
            raise CannotMeasure(f"wakeful was not {what} in time\n{child.output()}")
        time.sleep(0.1)


def _asleep(admin: int) -> bool:
    lines = _ask(admin, "/metrics")[1].splitlines()
    running = [line for line in lines if line.startswith("wakeful_instances{")]
    return not any(not line.endswith(" 0") for line in running)


def _ask(port: int, path: str, host: str = "localhost") -> tuple[int, str]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        client.request("GET", path, headers={"Host": host})
        response = client.getresponse()
        return response.status, response.read().decode()
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        client.close()


@click.command("rest")
@click.option("--services", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--asked", type=click.IntRange(0), default=50, show_default=True)
@click.option("--seconds", type=click.FloatRange(1), default=10.0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def command(services: int, asked: int, seconds: float, as_json: bool) -> None:
    """CPU and memory of one wakeful whose services all sleep."""
    rest = measure(services, min(asked, services), seconds)
    if as_json:
        click.echo(json.dumps({"machine": describe().as_json(), "rest": asdict(rest)}))
    else:
        click.echo(f"{describe()}\n\n{rest}")


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        command(arguments, standalone_mode=False)
    except CannotMeasure as error:
        click.echo(f"Cannot measure: {error}", err=True)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
