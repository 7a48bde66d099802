"""The proxies wakeful is held against, each set up to do comparable work.

One worker or thread, no access log, kept-alive connections to the backend,
X-Forwarded-For, -Proto and -Host on every request, routed by host, no body kept
on a disk. (wakeful adds Forwarded, X-Request-Id and traceparent; Envoy adds
X-Request-Id.)
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from textwrap import dedent

from benchmarks.children import CannotMeasure, free_port

HOST = "hello.localhost"  # what every request asks for
_ACCESS_LOG = "access.log"
_CROWD = 10_000  # services beside the one that is asked


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxy is to run."""

    folder: Path
    port: int
    backend: int
    connections: int  # of clients, at once


@dataclass(frozen=True, slots=True)
class Peer:
    name: str
    program: str  # as it is found on the PATH
    ask_version: tuple[str, ...]
    configure: Callable[[str, Place], list[str]]  # writes its files, returns its command
    env: Mapping[str, str] = field(default_factory=dict)
    access_log: str | None = None  # a file in its folder
    build: str = ""  # what it must say of itself beside its version

    @property
    def family(self) -> str:
        """The peer whose program it runs: itself, or what it is a variant of."""
        return variant_of(self.name) or self.name

    def find(self) -> str | None:
        return shutil.which(self.program) or shutil.which(self.program, path="/usr/sbin:/sbin")

    def version(self, program: str) -> str:
        """Raises CannotMeasure when the program is another one than it should be."""
        asked = subprocess.run(
            [program, *self.ask_version], capture_output=True, text=True, timeout=20
        )
        said = asked.stdout + asked.stderr
        if self.build not in said:
            raise CannotMeasure(f"{program} does not say {self.build} but: {said.strip()}")
        number = re.search(r"\d+\.\d+\.\d+[^\s/]*", said)
        return "unknown" if number is None else number[0]


def variant_of(name: str) -> str:
    """The name of what a peer of this name is a variant of; empty if of none."""
    return name.rpartition(", ")[0]


def run_wakeful(
    program: str,
    folder: Path,
    port: int,
    services: Mapping[str, object],
    runtime: str,
    access_log: Mapping[str, object] | None = None,
    more: Mapping[str, object] | None = None,
) -> list[str]:
    """The command that runs wakeful with some services; writes its configuration.

    ``more`` are other keys of the top of the file.
    """
    config = {
        "listen": f"127.0.0.1:{port}",
        "admin": f"127.0.0.1:{free_port()}",
        "domain": "localhost",
        "runtime": runtime,
        "state-dir": str(folder / "state"),
        "access-log": access_log or {"format": "off"},
        "services": services,
        **(more or {}),
    }
    file = folder / "wakeful.yaml"
    file.write_text(json.dumps(config, indent=1))  # JSON is YAML
    return [program, "-m", "wakeful", "run", "-c", str(file)]


def _wakeful(program: str, place: Place) -> list[str]:
    services = {"hello": _service(place)}
    return run_wakeful(program, place.folder, place.port, services, runtime="process")


def _wakeful_logging(program: str, place: Place) -> list[str]:
    log = {"format": "json", "file": str(place.folder / _ACCESS_LOG)}
    services = {"hello": _service(place)}
    return run_wakeful(program, place.folder, place.port, services, "process", log)


def _wakeful_crowded(program: str, place: Place) -> list[str]:
    other = {"upstreams": [f"127.0.0.1:{place.backend}"]}
    services = {f"s{number}": other for number in range(_CROWD)} | {"hello": _service(place)}
    return run_wakeful(program, place.folder, place.port, services, runtime="process")


def _service(place: Place) -> dict[str, object]:
    return {
        "upstreams": [f"127.0.0.1:{place.backend}"],
        "concurrency": min(1000, max(80, place.connections)),  # 1000 is the most there is
    }


def _nginx(program: str, place: Place, buffers: str = "") -> list[str]:
    file = _write(
        place,
        "nginx.conf",
        f"""
        {"user root;" if os.geteuid() == 0 else ""}
        daemon off;
        worker_processes 1;
        pid {place.folder}/nginx.pid;
        error_log stderr error;
        events {{ worker_connections {max(4096, 2 * place.connections)}; }}
        http {{
          access_log off;
          client_body_temp_path {place.folder}/body;
          proxy_temp_path {place.folder}/proxy;
          fastcgi_temp_path {place.folder}/fastcgi;
          uwsgi_temp_path {place.folder}/uwsgi;
          scgi_temp_path {place.folder}/scgi;
          keepalive_requests 1000000000;
          client_max_body_size 0;
          upstream backend {{
            server 127.0.0.1:{place.backend};
            keepalive {max(128, place.connections)};
            keepalive_requests 1000000000;
          }}
          server {{
            listen 127.0.0.1:{place.port} default_server;
            return 404;
          }}
          server {{
            listen 127.0.0.1:{place.port};
            server_name {HOST};
            location / {{
              proxy_pass http://backend;
              proxy_http_version 1.1;
              proxy_request_buffering off;
              proxy_max_temp_file_size 0;
              {buffers}
              proxy_set_header Connection "";
              proxy_set_header Host $http_host;
              proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
              proxy_set_header X-Forwarded-Proto $scheme;
              proxy_set_header X-Forwarded-Host $http_host;
            }}
          }}
        }}
        """,
    )
    # The prefix is for its default log, which it opens before it reads the file.
    return [program, "-p", str(place.folder), "-e", "stderr", "-c", file]


def _haproxy(program: str, place: Place) -> list[str]:
    file = _write(
        place,
        "haproxy.cfg",
        f"""
        global
          nbthread 1
          maxconn 4096
        defaults
          mode http
          timeout connect 5s
          timeout client 60s
          timeout server 60s
          http-reuse always
          option forwardfor
        frontend front
          bind 127.0.0.1:{place.port}
          http-request set-header X-Forwarded-Proto http
          http-request set-header X-Forwarded-Host %[req.hdr(Host)]
          use_backend back if {{ hdr(host) -i {HOST} }}
        backend back
          server only 127.0.0.1:{place.backend}
        """,
    )
    return [program, "-db", "-f", file]


def _caddy(program: str, place: Place) -> list[str]:
    # It sets the three forwarded headers by itself.
    file = _write(
        place,
        "Caddyfile",
        f"""
        {{
          admin off
          auto_https off
        }}
        http://{HOST}:{place.port} {{
          bind 127.0.0.1
          reverse_proxy 127.0.0.1:{place.backend} {{
            transport http {{
              compression off
              keepalive_idle_conns_per_host {max(128, place.connections)}
            }}
          }}
        }}
        """,
    )
    return [program, "run", "--adapter", "caddyfile", "--config", file]


def _envoy(program: str, place: Place) -> list[str]:
    extensions = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{extensions}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "codec_type": "HTTP1",
        "use_remote_address": True,  # appends X-Forwarded-For, sets X-Forwarded-Proto
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "hello",
                    "domains": [HOST],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"}}],
                    "request_headers_to_add": [
                        {"header": {"key": "X-Forwarded-Host", "value": "%REQ(:AUTHORITY)%"}}
                    ],
                }
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": f"{extensions}.http.router.v3.Router"},
            }
        ],
    }
    cluster = {
        "name": "backend",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": "backend",
            "endpoints": [
                {"lb_endpoints": [{"endpoint": {"address": _envoy_address(place.backend)}}]}
            ],
        },
    }
    config = {
        "static_resources": {
            "listeners": [
                {
                    "address": _envoy_address(place.port),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [cluster],
        }
    }
    file = _write(place, "envoy.json", json.dumps(config, indent=1))
    options = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
    return [program, "-c", file, *options]


def _envoy_address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _write(place: Place, name: str, text: str) -> str:
    file = place.folder / name
    file.write_text(dedent(text))
    return str(file)


PEERS = {
    peer.name: peer
    for peer in (
        Peer("wakeful", sys.executable, ("-m", "wakeful", "version"), _wakeful),
        Peer("nginx", "nginx", ("-v",), _nginx),
        Peer("haproxy", "haproxy", ("-v",), _haproxy),
        # One thread that runs Go code; its garbage collector shares it.
        Peer("caddy", "caddy", ("version",), _caddy, env={"GOMAXPROCS": "1"}),
        Peer("envoy", "envoy", ("--version",), _envoy),
    )
}

# Once more, each with one thing different from the peer before the comma.
LOGGING = replace(
    PEERS["wakeful"],
    name="wakeful, access log",
    configure=_wakeful_logging,
    access_log=_ACCESS_LOG,
)
CROWDED = replace(
    PEERS["wakeful"], name=f"wakeful, {_CROWD:,} services", configure=_wakeful_crowded
)
# The same source, compiled; its program is the Python of its environment.
COMPILED = replace(
    PEERS["wakeful"],
    name="wakeful, compiled",
    ask_version=("-P", "-m", "wakeful", "version"),  # -P: not the source in this folder
    build="(compiled)",
)
COMPILED_LOGGING = replace(
    COMPILED,
    name="wakeful, compiled, access log",
    configure=_wakeful_logging,
    access_log=_ACCESS_LOG,
)
PROGRAMS = {**PEERS, COMPILED.name: COMPILED}

# By default it moves bodies in pieces of 4 KB, which is most of what they cost it.
BUFFERED = replace(
    PEERS["nginx"],
    name="nginx, 64 KB buffers",
    configure=partial(
        _nginx,
        buffers="proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; "
        "client_body_buffer_size 64k;",
    ),
)
