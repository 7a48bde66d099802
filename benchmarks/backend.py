"""The server behind every proxy: the cheapest answer there is, and the same for all."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.peers import PEERS

_LONGEST_RETURN = 1000  # bytes that nginx can be told to return; a longer body is a file


def command(folder: Path, port: int, size: int, *, uploads: bool = False) -> tuple[str, list[str]]:
    """What it is called in the report, and how to start it."""
    # nginx would answer before it has read what is uploaded.
    program = None if uploads else PEERS["nginx"].find()
    if program is None:
        server = Path(__file__).with_name("plain_server.py")
        name = server.name if uploads else f"{server.name} (nginx not found)"
        return name, [sys.executable, str(server), str(port), str(size)]
    configuration = _nginx(folder, port, size)
    return "nginx, static", [program, "-p", str(folder), "-e", "stderr", "-c", configuration]


def _nginx(folder: Path, port: int, size: int) -> str:
    if size <= _LONGEST_RETURN:
        answer = f'return 200 "{"x" * size}";'
    else:
        (folder / "body").write_bytes(b"x" * size)
        answer = f"try_files /body =404; root {folder}; sendfile on; open_file_cache max=10;"
    file = folder / "backend.conf"
    file.write_text(f"""
{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes 1;
pid {folder}/backend.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {folder}/backend-body;
  proxy_temp_path {folder}/backend-proxy;
  fastcgi_temp_path {folder}/backend-fastcgi;
  uwsgi_temp_path {folder}/backend-uwsgi;
  scgi_temp_path {folder}/backend-scgi;
  keepalive_requests 1000000000;
  default_type text/plain;
  server {{
    listen 127.0.0.1:{port};
    location / {{ {answer} }}
  }}
}}
""")
    return str(file)
