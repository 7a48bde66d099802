"""``wakeful demo``: three services, and the first requests to them.

Containers when Docker answers and an image can be made of this host's Python,
else local processes; it says which. Everything it makes is gone at the end,
but for that image.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click

from wakeful import __version__, logs
from wakeful.app import App, StartError
from wakeful.config.load import loads
from wakeful.runtime.docker_engine import docker_answers
from wakeful.serve import run_loop, serve_until_signal

_HERE = Path(__file__).parent
_FILES = ("serve.py", "hello.py", "slow.py", "echo.py")
_IDLE_SECONDS = 10  # the window; back to zero some seconds after it has passed
_BURST = 20
_ENDING = (signal.SIGTERM, signal.SIGHUP)  # a terminal that closes must not leave instances

_CONFIG = """\
listen: "127.0.0.1:{port}"
admin: "127.0.0.1:{admin}"
runtime: {runtime}
state-dir: {state}
access-log: "off"
defaults:
  scale: {{window: {window}s}}
  idle: {{stop-after: 0s}}
services:
  hello:
    {hello}
  slow:
    {slow}
    concurrency: 2
    max-instances: 4
  echo:
    {echo}
"""


class Broken(Exception):
    """The demo saw something else than it promises."""


def run_demo(*, once: bool, runtime: str, port: int) -> int:
    logs.configure("text", "warning" if once else "info")
    with tempfile.TemporaryDirectory(prefix="wakeful-demo-") as state:
        try:
            chosen, reason, commands = _choose(runtime)
            text = _CONFIG.format(
                port=_free_port(port),
                admin=_free_port(9900),
                runtime=chosen,
                state=json.dumps(state),
                window=_IDLE_SECONDS,
                **commands,
            )
            loaded = loads(text, _HERE, "demo")
            demo = Demo(App(loaded), f"{chosen}{reason}")
            return run_loop(demo.once() if once else demo.run())
        except (StartError, Broken) as error:
            click.echo(f"demo: {error}", err=True)
            return 1
        except asyncio.CancelledError:
            click.echo("demo: interrupted", err=True)
            return 1


def _choose(runtime: str) -> tuple[str, str, dict[str, str]]:
    """The runtime, why it is this one, and how it runs each service."""
    reason = ""
    if runtime != "process":
        problem = docker_answers()
        if problem is None:
            click.echo("making a small image of this host's Python (no registry is asked) ...")
            image, problem = _image()
            if problem is None:
                return "docker", "", _in_image(image)
        if runtime == "docker":
            raise StartError(problem)
        reason = f" ({problem})"
    return "process", reason, {
        name: f"command: {json.dumps([sys.executable, '-S', str(_HERE / f'{name}.py')])}"
        for name in ("hello", "slow", "echo")
    }  # fmt: skip


def _image() -> tuple[str, str | None]:
    from wakeful.demo import image

    files = {f"/app/{name}": (_HERE / name).read_bytes() for name in _FILES}
    try:
        return image.build(files, ["python3", "-S", "/app/hello.py"]), None
    except image.ImageError as error:
        return "", str(error)


def _in_image(image: str) -> dict[str, str]:
    return {
        name: f"image: {json.dumps(image)}\n    "
        f"command: {json.dumps(['python3', '-S', f'/app/{name}.py'])}"
        for name in ("hello", "slow", "echo")
    }


def _free_port(first: int) -> int:
    for port in range(first, min(first + 100, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise StartError(f"no free port from {first} on")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    seconds: float


class Demo:
    """What is shown, in order."""

    def __init__(self, app: App, runtime: str) -> None:
        self._app = app
        self._runtime = runtime

    async def run(self) -> int:
        """The first requests, then whatever the reader tries, until a signal."""
        return await serve_until_signal(
            self._app, after_start=self._introduce, signals=(*_ENDING, signal.SIGINT)
        )

    async def once(self) -> int:
        """Cold, warm, a burst and back to zero: each checked, each timed."""
        this = asyncio.current_task()
        assert this is not None
        for signum in _ENDING:  # SIGINT cancels it anyway
            asyncio.get_running_loop().add_signal_handler(signum, this.cancel)
        await self._app.start()
        try:
            self._say(f"wakeful {__version__}   runtime: {self._runtime}")
            await self._check_cold_and_warm()
            await self._check_burst()
            await self._check_zero()
            self._say("all as promised")
            return 0
        finally:
            await self._app.stop(asyncio.Event())

    async def _introduce(self) -> None:
        services = list(self._app.config.services.values())
        self._say(f"wakeful {__version__}   runtime: {self._runtime}")
        self._say("  http   " + "  ".join(self._app.urls(one)[0] for one in services))
        self._say(f"  admin  http://{self._app.admin_address}   (/metrics, /healthz, /readyz)")
        self._say(f"{len(services)} services, 0 instances running. First requests to hello:")
        for kind in ("cold: an instance was started for it", "warm"):
            answer = await self._get("hello")
            self._say(f"  GET {self._url('hello')}/  -> {_outcome(answer)}  ({kind})")
        self._say(f"""Try:
  curl {self._url("hello")}/
  for i in $(seq 20); do curl -s {self._url("slow")}/ & done; wait    # scales to 4 instances
  curl -N {self._url("echo")}/events                                  # server-sent events
  curl -s http://{self._app.admin_address}/metrics | grep kn_revision_pods
Idle services go back to zero after some 15 s. Ctrl-C stops everything.""")

    async def _check_cold_and_warm(self) -> None:
        cold = await self._get("hello")
        self._expect(cold.status == 200, f"the cold request was answered {cold.status}")
        warm = await self._get("hello")
        self._expect(warm.status == 200, f"the warm request was answered {warm.status}")
        self._expect(warm.seconds < cold.seconds, "warm was not faster than cold")
        self._say(f"  cold    {_outcome(cold)}, an instance was started for it")
        self._say(f"  warm    {_outcome(warm)}")

    async def _check_burst(self) -> None:
        began = time.perf_counter()
        answers = await asyncio.gather(*(self._get("slow") for _ in range(_BURST)))
        took = time.perf_counter() - began
        statuses = Counter(answer.status for answer in answers)
        self._expect(statuses == {200: _BURST}, f"of the burst, {dict(statuses)}")
        reports = [json.loads(answer.body) for answer in answers]
        instances = {report["instance"] for report in reports}
        most = max(report["most_at_once"] for report in reports)
        self._expect(1 < len(instances) <= 4, f"{len(instances)} instances answered, not 2 to 4")
        self._expect(most <= 2, f"an instance had {most} requests at once, over its limit of 2")
        self._say(
            f"  burst   {_BURST} x 200 in {took:.2f} s, by {len(instances)} instances, "
            f"never more than {most} requests in one"
        )

    async def _check_zero(self) -> None:
        began = time.perf_counter()
        services = list(self._app.config.services)
        limit = _IDLE_SECONDS + 30
        while running := sum(self._app.running(name) for name in services):
            if time.perf_counter() - began > limit:
                raise Broken(f"{running} instances still run after {limit} s without a request")
            await asyncio.sleep(0.1)
        self._say(f"  zero    nothing runs any more, {time.perf_counter() - began:.1f} s later")

    async def _get(self, service: str) -> Answer:
        host = f"{service}.{self._app.config.domain}"
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._app.plane.port)
        try:
            writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            raw = await reader.read()
        finally:
            writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        status = int(head[9:12]) if head.startswith(b"HTTP/1.1 ") else 0
        return Answer(status, body, time.perf_counter() - began)

    def _url(self, service: str) -> str:
        return self._app.urls(self._app.config.services[service])[0]

    def _say(self, text: str) -> None:
        click.echo(text)

    def _expect(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise Broken(otherwise)


def _outcome(answer: Answer) -> str:
    return f"{answer.status} in {answer.seconds * 1000:.1f} ms"
