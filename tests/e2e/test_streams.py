"""Streams and tunnels: they pass as they come, and hold their instance while they last."""

from __future__ import annotations

import base64
import os
import re
import socket
import threading
import time

from tests.e2e.conftest import Launch
from tests.e2e.harness import Answer, Definition, Platform, Wakeful, read_head, read_to_end, until

# Far longer than the window and the ticks until a decision: whatever is idle is asleep by then.
LONG = 15.0


class WebSocket:
    """A client of RFC 6455, as far as an echo needs one; frames are short and masked."""

    def __init__(self, wakeful: Wakeful, service: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", wakeful.port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {service}.localhost\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        self.head, self._ahead = read_head(self._socket)

    def echo(self, text: bytes) -> bytes:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
        self._socket.sendall(bytes((0x81, 0x80 | len(text))) + mask + masked)
        opcode, length = self._read(2)
        assert opcode == 0x81
        return self._read(length)

    def close(self) -> None:
        """§5.5.1: a close frame each way, and then the connection's end."""
        self._socket.sendall(bytes((0x88, 0x80)) + b"\0\0\0\0")
        assert self._read(2)[0] == 0x88
        assert self._socket.recv(1) == b""
        self._socket.close()

    def _read(self, size: int) -> bytes:
        while len(self._ahead) < size:
            piece = self._socket.recv(65536)
            assert piece, "cut in the middle of a frame"
            self._ahead += piece
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return data


def test_tunnels_and_streams_keep_their_instances_past_the_window_and_then_let_them_sleep(
    processes: Platform, launch: Launch
) -> None:
    window: Definition = {"scale": {"window": "6s"}}
    wakeful = launch(
        {
            "socket": processes.service(program="echo.py", **window),
            "events": processes.service(program="echo.py", **window),
            "drip": processes.service(**window),
            "idle": processes.service(**window),
            "crowd": processes.service(
                concurrency=4, scale={"window": "6s", "target": 4, "utilization": "100%"}
            ),
        }
    )
    assert wakeful.get("idle").status == 200
    tunnel = WebSocket(wakeful, "socket")
    assert tunnel.head.startswith(b"HTTP/1.1 101 ")
    assert tunnel.echo(b"first") == b"first"
    answers: dict[str, Answer] = {}

    def read(service: str, path: str) -> None:
        answers[service] = wakeful.get(service, path)

    readers = [
        threading.Thread(target=read, args=("events", f"/events?n={int(LONG) * 2}")),
        threading.Thread(target=read, args=("drip", f"/drip?n={int(LONG)}&ms=1000")),
    ]
    for reader in readers:
        reader.start()
    # Sixteen need four instances; the four that stay need one. So others are
    # given up while they stream, each with one of the long requests in it.
    crowd = [
        wakeful.connect("crowd", f"GET {path}", "Connection: close\r\n")
        for path in (f"/drip?n={int(LONG)}&ms=1000", *["/?ms=2000"] * 3) * 4
    ]
    drained = 0
    began = time.monotonic()
    until(lambda: wakeful.asleep("idle"), "the idle one asleep", LONG - 2)
    while time.monotonic() - began < LONG - 2:
        for service in ("socket", "events", "drip"):
            assert wakeful.instances(service, state="ready") == 1
        drained = max(drained, wakeful.instances("crowd", state="draining"))
        time.sleep(0.5)
    for reader in readers:
        reader.join()
    assert tunnel.echo(b"still here") == b"still here"
    tunnel.close()

    events, drip = answers["events"], answers["drip"]
    assert events.headers["content-type"] == "text/event-stream"
    numbers = [int(n) for n in re.findall(rb"^id: (\d+)$", events.body, re.MULTILINE)]
    assert numbers == list(range(1, int(LONG) * 2 + 1))
    lines = drip.body.decode().splitlines()
    assert [int(line.split()[1]) for line in lines] == list(range(int(LONG)))
    assert len({line.split()[0] for line in lines}) == 1
    stayed = [read_to_end(client).decode() for client in crowd][::4]
    for client in crowd:
        client.close()
    names = [re.findall(r"^(\S+-\d+) \d+$", text, re.MULTILINE) for text in stayed]
    assert [len(each) for each in names] == [int(LONG)] * 4
    assert len({name for each in names for name in each}) == 4
    assert drained == 3
    assert wakeful.metric("wakeful_instance_starts_total") == 4 + 4
    assert wakeful.metric("wakeful_instance_crashes_total") == 0
    until(wakeful.asleep, "everything asleep", 30)


def test_events_arrive_when_they_happen_and_not_at_the_end(
    processes: Platform, launch: Launch
) -> None:
    wakeful = launch({"events": processes.service(program="echo.py")})
    with wakeful.connect("events", "GET /events") as client:
        head, data = read_head(client)
        assert b"text/event-stream" in head.lower()
        # It has no end: that any of it arrives shows that nobody waits for one.
        while b"event 3\n" not in data:
            data += client.recv(65536)
    # The client left, and the instance hears of it.
    until(lambda: wakeful.metric("kn_revision_request_active", "events") == 0, "let go")


def test_a_tunnel_counts_against_the_limit_of_its_instance(
    processes: Platform, launch: Launch
) -> None:
    service = processes.service(program="echo.py", concurrency=1, max_instances=2)
    wakeful = launch({"socket": service})
    tunnels = [WebSocket(wakeful, "socket") for _ in range(2)]
    assert wakeful.instances("socket", state="ready") == 2
    waits: list[Answer] = []
    waiting = threading.Thread(target=lambda: waits.append(wakeful.get("socket")))
    waiting.start()
    until(lambda: wakeful.metric("kn_revision_request_queued", "socket") == 1, "it waits")
    tunnels[0].close()
    waiting.join()
    assert waits[0].status == 200
    assert tunnels[1].echo(b"alive") == b"alive"
    tunnels[1].close()


def test_an_upload_is_passed_on_while_it_is_sent(processes: Platform, launch: Launch) -> None:
    wakeful = launch({"echo": processes.service(program="echo.py")})
    with socket.create_connection(("127.0.0.1", wakeful.port), timeout=30) as client:
        client.sendall(
            b"POST /stream HTTP/1.1\r\nHost: echo.localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nfirst\r\n"
        )
        head, data = read_head(client)
        assert head.startswith(b"HTTP/1.1 200 ")
        while b"first" not in data:
            data += client.recv(65536)
        client.sendall(b"6\r\nsecond\r\n0\r\n\r\n")
        while not data.endswith(b"0\r\n\r\n"):
            data += client.recv(65536)
    assert data == b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"
