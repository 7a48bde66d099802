"""wakeful as an operator has it: a program with a file, ports, signals, and what it says."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from prometheus_client.parser import text_string_to_metric_families

import wakeful.demo
from tests.ports import free_port

DEMO = Path(wakeful.demo.__file__).parent
APP = Path(__file__).with_name("app.py")

# Names what a wakeful under test started: its environment is its instances' too.
MARK = "WAKEFUL_E2E_MARK"

Definition = dict[str, Any]
T = TypeVar("T")


def until(condition: Callable[[], T], what: str, seconds: float = 20.0) -> T:
    """What the condition is at last; a condition that never comes true fails the test."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.03)
    return value


@dataclass(frozen=True, slots=True)
class Platform:
    """What runs the instances, and how it is told to run one of our programs."""

    runtime: str
    image: str = ""

    def service(self, *arguments: str, program: str = "app.py", **keys: Any) -> Definition:
        """A service of a program beside this file, or of one of the demo."""
        definition: Definition = {name.replace("_", "-"): value for name, value in keys.items()}
        if self.image:
            definition["image"] = self.image
            definition["command"] = ["python3", "-S", f"/app/{program}", *arguments]
        else:
            ours = APP.with_name(program)
            path = ours if ours.exists() else DEMO / program
            definition["command"] = [sys.executable, "-S", str(path), *arguments]
            definition["env"] = {"PYTHONPATH": str(DEMO), **definition.get("env", {})}
        return definition


@dataclass(frozen=True, slots=True)
class Answer:
    """A response; status 0 when there was none, or not the whole of it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def reason(self) -> str:
        return self.headers.get("x-wakeful-reason", "")

    def json(self) -> Any:
        assert self.status == 200, f"{self.status}: {self.body!r}"
        return json.loads(self.body)


class Wakeful:
    """One wakeful with a directory, two ports and a state of its own."""

    def __init__(
        self,
        directory: Path,
        services: Mapping[str, Definition],
        *,
        runtime: str = "process",
        **top: Any,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "wakeful.yaml"
        self.state = directory / "state"
        self.port, self.admin = free_port(), free_port()
        self.mark = uuid.uuid4().hex
        self._top = {
            "listen": f"127.0.0.1:{self.port}",
            "admin": f"127.0.0.1:{self.admin}",
            "runtime": runtime,
            "state-dir": str(self.state),
            # Where nothing is said of spares there are none: what is not needed ends.
            "defaults": {"idle": {"stop-after": "0s"}},
            **top,
        }
        self._log = directory / "wakeful.log"
        self._output = directory / "access.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.write(services)

    # Its file

    def write(self, services: Mapping[str, Definition], **top: Any) -> None:
        """What services there are from the next start or reload on, whole at any moment."""
        draft = self.file.with_suffix(".new")
        draft.write_text(self.text(services, **top))
        draft.replace(self.file)

    def text(self, services: Mapping[str, Definition], **top: Any) -> str:
        return yaml.safe_dump(self._top | top | {"services": dict(services)}, sort_keys=False)

    # Its life

    def start(self, *arguments: str) -> Wakeful:
        self.launch(*arguments)
        until(lambda: self.ready() or not self.alive, "ready to take requests")
        assert self.alive, f"did not start: {self.log_text()}"
        return self

    def launch(self, *arguments: str) -> None:
        """Start, and do not wait for it to be ready."""
        assert not self.alive
        command = [sys.executable, "-m", "wakeful", "run", "-c", str(self.file)]
        command += ["--log-format", "json", *arguments]
        with self._log.open("ab") as log, self._output.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env={**os.environ, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def send(self, signum: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(signum)

    def exit_code(self, seconds: float = 30.0) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.exit_code()

    def reload(self) -> str:
        """Read the file again; what is said about it."""
        seen = len(self.logs())
        self.send(signal.SIGHUP)
        return until(
            lambda: next((m for m in self.messages()[seen:] if m.startswith("reload")), ""),
            "a word on the reload",
        )

    # Its clients

    def get(
        self,
        service: str,
        path: str = "/",
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Answer:
        host = service if "." in service else f"{service}.localhost"
        began = time.monotonic()
        status, fields, body = 0, {}, b""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            client.request("GET", path, headers={"Host": host, **(headers or {})})
            response = client.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            body = response.read()
            status = response.status
        except (OSError, http.client.HTTPException) as error:
            body = repr(error).encode()
        finally:
            client.close()
        return Answer(status, fields, body, time.monotonic() - began)

    def burst(self, service: str, count: int, path: str = "/") -> list[Answer]:
        """So many requests at once, each on a connection of its own."""
        line = threading.Barrier(count)

        def one(_: int) -> Answer:
            line.wait()
            return self.get(service, path)

        with ThreadPoolExecutor(count) as clients:
            return list(clients.map(one, range(count)))

    def connect(self, service: str, request: str, fields: str = "") -> socket.socket:
        """A connection on which a request was written; ``request`` is its line and path."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        head = f"{request} HTTP/1.1\r\nHost: {service}.localhost\r\n{fields}\r\n"
        client.sendall(head.encode())
        return client

    # What it says

    def ask(self, path: str) -> tuple[int, str]:
        """The admin listener's answer; status 0 when nothing listens."""
        client = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=10)
        try:
            client.request("GET", path)
            response = client.getresponse()
            return response.status, response.read().decode()
        except (OSError, http.client.HTTPException):
            return 0, ""
        finally:
            client.close()

    def ready(self) -> bool:
        return self.ask("/readyz")[0] == 200

    def metrics(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Samples by name, as Prometheus' own parser reads them."""
        status, text = self.ask("/metrics")
        assert status == 200
        samples: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                samples.setdefault(sample.name, []).append((sample.labels, sample.value))
        return samples

    def metric(self, name: str, service: str = "", **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        wanted = labels | ({"kn_service_name": service} if service else {})
        return sum(
            value
            for these, value in self.metrics().get(name, ())
            if wanted.items() <= these.items()
        )

    def instances(self, service: str = "", **labels: str) -> int:
        """Instances in whatever state."""
        return int(self.metric("wakeful_instances", service, **labels))

    def asleep(self, *services: str) -> bool:
        """Nothing of these services runs, or of any."""
        lines = [x for x in self.ask("/metrics")[1].splitlines() if x.startswith("wakeful_inst")]
        assert lines
        marks = [f'kn_service_name="{name}"' for name in services] or [""]
        return not any(
            line.startswith("wakeful_instances{") and not line.endswith(" 0") and mark in line
            for line in lines
            for mark in marks
        )

    def log_text(self) -> str:
        return self._log.read_text(errors="replace")

    def logs(self) -> list[dict[str, Any]]:
        """Its log so far; a last line that is being written does not count yet."""
        whole = self.log_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def messages(self) -> list[str]:
        return [line["msg"] for line in self.logs()]

    def access_log(self) -> list[str]:
        return self._output.read_text().splitlines()

    @property
    def owner(self) -> str:
        with suppress(FileNotFoundError):
            return str(json.loads((self.state / "state.json").read_text())["owner"])
        return ""

    # What it leaves

    def processes(self) -> list[int]:
        """Its living instances that are processes, by what the kernel says."""
        return [pid for pid in marked(self.mark) if not self.alive or pid != self.pid]

    def end(self) -> None:
        """Stop it, and hold it to its promises: nothing left, and nothing broke inside it."""
        code = self.stop() if self.alive else 0
        left = self.processes()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        text = self.log_text() if self._log.exists() else ""
        assert code == 0, text
        assert not left, f"these processes were left: {left}\n{text}"
        for sign in ("Traceback", '"exception":', "Exception ignored", "was never"):
            assert sign not in text, text

    def kill(self) -> None:
        """SIGKILL, and wait until the kernel has closed its sockets."""
        self.send(signal.SIGKILL)
        self.exit_code()


def marked(mark: str) -> Iterator[int]:
    """Processes with this mark in their environment; a zombie has none any more."""
    wanted = f"{MARK}={mark}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                yield int(path.parent.name)


def wakeful_command(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """One that ends by itself, and what it said."""
    return subprocess.run(
        [sys.executable, "-m", "wakeful", *arguments],
        env={**os.environ, **(env or {})},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def read_head(client: socket.socket) -> tuple[bytes, bytes]:
    """A response's head, and what came behind it so far."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = client.recv(65536)
        assert piece, f"closed within the head: {data!r}"
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def read_to_end(client: socket.socket) -> bytes:
    data = b""
    while piece := client.recv(65536):
        data += piece
    return data


def concurrently(*calls: Callable[[], T]) -> Sequence[T]:
    with ThreadPoolExecutor(len(calls)) as threads:
        return [each.result() for each in [threads.submit(call) for call in calls]]
