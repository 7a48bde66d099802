"""The admin listener: Starlette and uvicorn on the proxy's loop, off the path of requests."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from wakeful.admin.instances import Listing
from wakeful.admin.log_lines import query_of, unknown_service
from wakeful.admin.log_stream import LogStream
from wakeful.admin.outputs import Outputs, Refused
from wakeful.config.model import HostPort
from wakeful.deploy import Standing

_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Server(uvicorn.Server):
    """One that leaves the signals to the application, and the loop alone between requests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        self.should_exit = True
        self._leaving.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Once a second, for the date, rather than ten times: each costs what a few requests do."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), 1.0)


class AdminServer:
    """/healthz: the process answers. /readyz: it takes requests. /metrics: what it counts.

    /v1/services: where each service's requests go, in Knative's words.
    /v1/instances: what runs now; ?service=NAME for one.
    /v1/services/NAME/logs: what its instances write (log_lines); ?follow=1, tail, since,
    instance.
    """

    def __init__(
        self,
        ready: Callable[[], bool],
        metrics: Callable[[], Iterator[str]],
        standings: Callable[[], Iterator[Standing]],
        instances: Callable[[str | None], Awaitable[Listing]],
        outputs: Outputs,
    ) -> None:
        self._ready = ready
        self._metrics = metrics
        self._standings = standings
        self._instances = instances
        self._outputs = outputs
        self._task: asyncio.Task[None] | None = None
        self._server: _Server | None = None
        self._socket: socket.socket | None = None

    async def bind(self, address: HostPort) -> None:
        """Take the address. Raises OSError when it cannot be had."""
        self._socket = _bind(address)

    async def listen(self) -> None:
        """Answer where it was bound."""
        assert self._socket is not None
        app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._scrape),
                Route("/v1/services", self._services),
                Route("/v1/services/{name}", self._service),
                Route("/v1/services/{name}/logs", self._logs),
                Route("/v1/instances", self._rows),
            ]
        )
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            timeout_graceful_shutdown=1,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(
            self._server.serve(sockets=[self._socket]), name="admin listener"
        )
        while not self._server.started:
            if self._task.done():
                raise OSError("the admin listener did not start")
            await asyncio.sleep(0.005)

    @property
    def port(self) -> int:
        assert self._socket is not None
        return int(self._socket.getsockname()[1])

    async def close(self) -> None:
        if self._server is not None and self._task is not None:
            self._server.leave()
            await asyncio.wait([self._task])
        if self._socket is not None:
            self._socket.close()

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, _: Request) -> Response:
        if self._ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready\n", status_code=503)

    async def _scrape(self, _: Request) -> Response:
        pieces = []
        for piece in self._metrics():
            pieces.append(piece.encode())
            await asyncio.sleep(0)  # with many services it is a long page: requests come first
        return Response(b"".join(pieces), headers={"content-type": _CONTENT_TYPE})

    async def _services(self, _: Request) -> Response:
        return JSONResponse({"services": [_status(one) for one in self._standings()]})

    async def _service(self, request: Request) -> Response:
        name = request.path_params["name"]
        for one in self._standings():
            if one.service == name:
                return JSONResponse(_status(one))
        return self._unknown(name)

    async def _logs(self, request: Request) -> Response | LogStream:
        try:
            query = query_of(request.path_params["name"], request.query_params)
            return LogStream(self._outputs.open(query))
        except ValueError as error:
            return PlainTextResponse(f"{error}\n", status_code=400)
        except Refused as refused:
            return PlainTextResponse(f"{refused}\n", status_code=refused.status)

    async def _rows(self, request: Request) -> Response:
        name = request.query_params.get("service")
        if name is not None and not any(one.service == name for one in self._standings()):
            return self._unknown(name)
        return JSONResponse((await self._instances(name)).as_json())

    def _unknown(self, service: str) -> Response:
        known = [one.service for one in self._standings()]
        return PlainTextResponse(f"{unknown_service(service, known)}\n", status_code=404)


def _status(one: Standing) -> dict[str, Any]:
    """The fields of a Knative Service's status that there are here, and its name."""
    status = {
        "name": one.service,
        "latestCreatedRevisionName": one.latest_created,
        "latestReadyRevisionName": one.latest_ready,
        "traffic": [
            {
                "revisionName": share.revision,
                "percent": share.percent,
                "latestRevision": share.revision == one.latest_ready,
            }
            for share in one.traffic
        ],
        "ready": not one.pending,
    }
    return status | {"message": one.message} if one.pending else status


def _bind(address: HostPort) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address.host, address.port))
        sock.listen(128)
    except BaseException:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
