"""Ports for servers that are started in a moment."""

import socket

import pytest

from service.processes.ports import PORTS, free_block, free_port


def test_every_port_of_a_block_is_free() -> None:
    first = free_block(8)
    with socket.socket() as taken:
        taken.bind(("", first + 5))
        with pytest.raises(OSError, match=f"{first} and {first + 7}"):
            free_block(8, range(first, first + 8))
        found = free_block(8, range(first, first + 4096))
        assert found > first
        assert (found - first) % 8 == 0


def test_no_connection_of_anybody_is_given_a_port_meanwhile() -> None:
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        ephemeral = int(file.read().split()[0])
    for port in (free_port(), free_port(""), free_block(64) + 63):
        assert port < min(ephemeral, PORTS.stop)


def test_programs_that_start_together_choose_differently() -> None:
    assert len({free_block(64) for _ in range(16)}) > 4
    assert len({free_port("") for _ in range(16)}) > 8
