"""What runs in the containers of these tests: python3 app.py BEHAVIOUR."""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"path": self.path, "env": dict(os.environ)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def leave(signum: int, frame: object) -> None:
    os._exit(0)


def count(signum: int, frame: object) -> None:
    print("asked", flush=True)


def tick() -> None:
    for number in range(10**9):
        print(f"tick {number}", flush=True)
        time.sleep(0.005)


behaviour = sys.argv[1]
if behaviour == "exit":
    print("on standard output", flush=True)
    print("on standard error", file=sys.stderr, flush=True)
    sys.exit(int(sys.argv[2]))
elif behaviour == "eat":
    hoard = []
    while True:
        hoard.append(bytearray(b"x" * 1_000_000))
elif behaviour == "polite":
    signal.signal(signal.SIGTERM, leave)
elif behaviour == "ticking":
    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=tick, daemon=True).start()
elif behaviour == "counting":
    signal.signal(signal.SIGTERM, count)
elif behaviour == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("serving", flush=True)
ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
