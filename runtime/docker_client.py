"""Calls of the Docker API from threads of their own, with our own exceptions.

The docker package blocks and its clients must not be shared by threads, so
each thread has one. The API version is negotiated once.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Concatenate, ParamSpec, TypeVar

import docker.errors
import requests
from docker.api.client import APIClient
from docker.tls import TLSConfig
from docker.transport import UnixHTTPAdapter
from urllib3.exceptions import HTTPError

from wakeful.runtime.docker_calls import Calls, with_parameters
from wakeful.runtime.docker_endpoint import EndpointError, Tls, endpoint
from wakeful.runtime.driver import DriverError, EngineUnavailable, ImageNotFound

P = ParamSpec("P")
T = TypeVar("T")

# Creates and starts are mostly waits for the engine, which itself works on
# few at a time.
_THREADS = 8

_UNIX = "http+docker://"  # what the package makes of the address of a Unix socket


class DockerClient:
    """The engine that ``docker_endpoint`` finds."""

    def __init__(self, threads: int = _THREADS) -> None:
        self._version = "auto"
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="wakeful-docker")
        self._local = threading.local()
        self._clients: list[APIClient] = []
        self._closed = False

    async def connect(self) -> None:
        """Raises EngineUnavailable."""
        self._version = await self.call(_version)

    async def call(
        self,
        function: Callable[Concatenate[APIClient, P], T],
        *arguments: P.args,
        **options: P.kwargs,
    ) -> T:
        """What ``function`` returns, given a client, in a thread; raises only DriverErrors."""

        def in_thread() -> T:
            with renamed_errors():
                return function(self._client(), *arguments, **options)

        if self._closed:
            raise EngineUnavailable("the Docker driver is not open")
        return await asyncio.get_running_loop().run_in_executor(self._pool, in_thread)

    @property
    def version(self) -> str:
        """Of the API, as it was negotiated."""
        return self._version

    def new(self) -> APIClient:
        """A client for a thread of the caller's; it is the caller's to close."""
        return new_client(self._version)

    async def close(self) -> None:
        self._closed = True
        # Elsewhere than on the loop: a call that hangs would hold it.
        await asyncio.to_thread(self._pool.shutdown)
        for client in self._clients:
            client.close()
        self._clients.clear()

    def _client(self) -> APIClient:
        client: APIClient | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = self.new()
            self._clients.append(client)
        return client


def new_client(version: str = "auto") -> APIClient:
    """A client of the engine that is meant. Raises EndpointError, DockerException."""
    engine = endpoint()
    tls = engine.tls and _tls(engine.tls)
    return _Client(engine.url, version=version, tls=tls or False)


class _Client(APIClient):
    """One that does not take REQUESTS_CA_BUNDLE and HTTP_PROXY, which are about the web,
    for settings of the engine's: the former would replace its authority."""

    _calls: Calls | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        adapter = self.adapters.get(_UNIX)
        if isinstance(adapter, UnixHTTPAdapter):
            self._calls = Calls(adapter.socket_path)
            self._custom_adapter = _OnePool(adapter.socket_path, adapter.timeout)
            self.mount(_UNIX, self._custom_adapter)
            adapter.close()

    def request(self, method: Any, url: Any, *arguments: Any, **options: Any) -> requests.Response:
        """Short calls over the Unix socket are made directly."""
        body = options.get("data") or b""
        short = not (arguments or options.get("stream")) and isinstance(body, str | bytes)
        if self._calls is None or not short:
            return super().request(method, url, *arguments, **options)
        return self._calls.call(
            method,
            with_parameters(url.removeprefix(self.base_url), options.get("params")),
            {"User-Agent": str(self.headers["User-Agent"]), **(options.get("headers") or {})},
            body.encode() if isinstance(body, str) else body,
            options.get("timeout"),
        )

    def close(self) -> None:
        if self._calls is not None:
            self._calls.close()
        super().close()

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        self.trust_env = False
        return super().merge_environment_settings(url, proxies, stream, verify, cert)


class _OnePool(UnixHTTPAdapter):
    """Connections to the engine's socket, whatever is asked for.

    The package keeps a pool for each path, 25 a client: a call about another container made
    another connection, and 12 threads came to hold 300 of them, as the engine did.
    """

    def get_connection(self, url: Any, proxies: Any = None) -> Any:
        return super().get_connection(_UNIX, proxies)


def _tls(tls: Tls) -> TLSConfig:
    pair = (str(tls.cert), str(tls.key)) if tls.cert and tls.key else None
    authority = str(tls.ca) if tls.ca else None
    return TLSConfig(client_cert=pair, ca_cert=authority, verify=tls.verify)


def _version(client: APIClient) -> str:
    version: str = client.api_version
    return version


@contextmanager
def renamed_errors() -> Iterator[None]:
    """Inside, what the docker package raises becomes a DriverError in one line."""
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise ImageNotFound(cause(error)) from None
    except docker.errors.APIError as error:
        raise DriverError(cause(error)) from None
    except EndpointError as error:
        raise EngineUnavailable(str(error)) from None
    except (docker.errors.DockerException, requests.RequestException, HTTPError, OSError) as error:
        raise EngineUnavailable(
            f"Docker does not answer at {endpoint().url}: {_root(error)}"
        ) from None


def cause(error: docker.errors.APIError) -> str:
    """The engine's explanation without the layers that passed it on."""
    return innermost(str(error.explanation or error))


def innermost(explanation: str) -> str:
    """The end of a chain such as the runtime's, in one line.

    'failed to create shim task: OCI runtime create failed: ... starting
    container process caused: exec: "x": not found: unknown' becomes
    'exec: "x": not found'.
    """
    line = " ".join(explanation.split())
    if "OCI runtime" in line:
        line = re.split(r"(?:caused:|caused \"|unable to start container process:) ?", line)[-1]
        line = re.sub(r"(?:: unknown|\")+$", "", line)
    return line


def _root(error: BaseException) -> str:
    """What the operating system said, from under the wrappers of three packages."""
    seen: BaseException | None = error
    reason = ""
    while seen is not None:
        if isinstance(seen, requests.Timeout | TimeoutError):
            return "timed out"
        if isinstance(seen, OSError) and seen.strerror:
            reason = seen.strerror.lower()
        seen = seen.__cause__ or seen.__context__
    return reason or " ".join(str(error).split())
