"""Which addresses of the network are public, and finding them by name: for all that may reach only the outside."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Sequence

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a name. Raises `OSError`."""
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_PRIVATE = [
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments; a cloud has its metadata at 192.0.0.192
        "168.63.129.16/32",  # public by number, and yet the host of a virtual machine at one cloud
        "fec0::/10",  # site-local, RFC 3879
        "64:ff9b:1::/48",  # NAT64 of a local network, RFC 8215
    )
]
_WRAPS = [ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("::/96")]
"""Whose last 32 bits are an IPv4 address: NAT64 (RFC 6052), and the compatible ones of RFC 4291."""


def is_public(address: str) -> bool:
    """Whether `address` is one of the open network: not private, loopback, link-local (where clouds have their
    metadata), shared, multicast or reserved, nor an IPv6 address that stands for such an IPv4 one."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(each.is_global and not each.is_multicast and not _listed(each) for each in _meant(ip))


def _meant(ip: _Address) -> list[_Address]:
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    inner = ip.ipv4_mapped or ip.sixtofour
    if inner is None and any(ip in net for net in _WRAPS):
        inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return [ip] if inner is None else [ip, inner]


def _listed(ip: _Address) -> bool:
    return any(ip.version == net.version and ip in net for net in _PRIVATE)


async def resolve(host: str, port: int) -> Sequence[str]:
    """By the machine's own resolver. Raises `OSError`."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(f"{host!r} is no name") from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))
