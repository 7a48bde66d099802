"""Ports promised to instances: none twice, none taken, none that others get by chance."""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from wakeful.runtime.ports import Ports

HOST = "127.0.0.1"


def test_no_port_is_one_that_the_kernel_gives_to_others() -> None:
    ports = Ports(HOST, (20_000, 60_999))
    promised = [ports.promise() for _ in range(200)]
    assert len(set(promised)) == 200
    assert all(10_000 <= port < 20_000 for port in promised)


def test_the_wider_side_is_taken() -> None:
    assert Ports(HOST, (9_000, 40_000)).promise() > 40_000


@pytest.mark.parametrize("ephemeral", [(0, 65_535), (10_500, 65_000)])
def test_where_nothing_is_left_for_others_any_free_port_will_do(
    ephemeral: tuple[int, int],
) -> None:
    ports = Ports(HOST, ephemeral)
    first, second = ports.promise(), ports.promise()
    assert first != second
    with closing(socket.create_server((HOST, first))):
        assert ports.promise() != first


def test_a_port_that_somebody_has_is_passed_over() -> None:
    ports = Ports(HOST, (11_001, 65_535))
    promised = {ports.promise() for _ in range(900)}
    rest = sorted(set(range(10_000, 11_001)) - promised)
    with closing(socket.create_server((HOST, rest[0]))):
        taken = {ports.promise() for _ in range(50)}
    assert rest[0] not in taken
    assert not taken & promised


def test_a_port_is_promised_again_when_it_was_given_back() -> None:
    ports = Ports(HOST, (11_001, 65_535))
    first = ports.promise()
    ports.hold(first)
    others = {ports.promise() for _ in range(850)}
    assert first not in others
    ports.release(first)
    assert first in {ports.promise() for _ in range(155)}
