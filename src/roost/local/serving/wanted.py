"""How a model is to be served, whatever the engine."""

from __future__ import annotations

import contextlib
import errno
import socket

import msgspec

from roost.errors import ConfigError
from roost.models.http import LOOPBACK

KEY_CHARACTERS = 16
"""The fewest of a key for an address that other machines reach."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """`context`: tokens that each conversation may have; `slots`: requests at the same time. `device_memory`: the share
    of each device's memory that the engine may take, within 0 and 1. `max_memory`: bytes as text ("20GiB") by device
    ("0", "cpu"). `devices`: over how many a model is spread. `gpu_layers`: how many layers leave the CPU. None leaves
    it to the engine."""

    model: str
    name: str = ""
    host: str = "127.0.0.1"
    port: int = 0
    key: str | None = None
    slots: int | None = None
    context: int | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    device_memory: float | None = None
    max_memory: dict[str, str] = {}
    devices: int | None = None


def check_exposure(wanted: Wanted, *, keyed: bool = True) -> None:
    """Reject an address that other machines reach without a strong key. `keyed`: the engine supports keys. Raises
    `ConfigError`."""
    if wanted.host in LOOPBACK:
        return
    if not keyed:
        raise ConfigError(
            f"{wanted.host!r} can be reached from other machines, and this engine knows no keys: listen on 127.0.0.1",
            code="public_bind",
        )
    if not wanted.key or len(wanted.key) < KEY_CHARACTERS:
        raise ConfigError(
            f"{wanted.host!r} can be reached from other machines: give a --key of at least {KEY_CHARACTERS} "
            "characters, for example the output of `openssl rand -hex 32`, or listen on 127.0.0.1",
            code="public_bind",
        )


def free_port(host: str, port: int) -> int:
    """Return `port` if it is free, or any free port for 0. Raises `ConfigError`."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with contextlib.closing(socket.socket(family, kind, protocol)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
            return probe.getsockname()[1]
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"port {port} of {host} is taken: choose another with --port (0 takes a free one)", code="port_taken"
            ) from error
        raise ConfigError(f"cannot listen on {host!r}, port {port}: {error}", code="cannot_listen") from error


def base_url(host: str, port: int) -> str:
    """Return the address for a client on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
