"""Classify network addresses as public or not, and resolve names. For callers that may reach only the public
internet."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Awaitable, Callable, Sequence

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns the addresses of a name. Raises `OSError`."""
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NOT_PUBLIC_4 = [
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32",  # public by number, but the host of virtual machines at one cloud
    )
]  # fmt: skip
"""IANA's registry of special addresses that are not globally reachable (RFC 6890), and multicast. Python's own table is
not used, because it differs between versions."""
_GLOBAL_6 = ipaddress.IPv6Network("2000::/3")
"""All addresses assigned for global unicast. Those outside are not public: loopback, translated (SIIT), local NAT64,
unique local, link-local, site-local, segment routing, multicast."""
_NOT_PUBLIC_6 = [
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4: obsolete, and would lead to any IPv4 address
        "3fff::/20",
    )
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""The last 32 bits are an IPv4 address (RFC 6052). Networks without IPv4 give public hosts such addresses."""
_METADATA = frozenset(map(ipaddress.ip_address, ("192.0.0.192", "100.100.100.200", "168.63.129.16", "fd00:ec2::254")))
"""Metadata services of clouds, which reveal a machine's secrets, in addition to the link-local addresses."""


def is_public(address: str) -> bool:
    """Whether `address` is on the public internet: not private, loopback, link-local (where clouds have their
    metadata), shared, multicast or reserved, nor an IPv6 address that stands for such an IPv4 one."""
    ip = _meant(address)
    if ip is None:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in net for net in _NOT_PUBLIC_4)
    return ip in _GLOBAL_6 and not any(ip in net for net in _NOT_PUBLIC_6)


def is_own(address: str) -> bool:
    """Whether `address` leads to this machine, its link, or its cloud's metadata service. True for an unreadable
    address."""
    ip = _meant(address)
    return ip is None or ip.is_loopback or ip.is_link_local or ip.is_unspecified or ip in _METADATA


def _meant(address: str) -> _Address | None:
    """Return the address, or the IPv4 address that it stands for; None if unreadable."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64:
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        return ip.ipv4_mapped or ip
    return ip


async def resolve(host: str, port: int) -> Sequence[str]:
    """Resolve a name with the machine's own resolver. Raises `OSError`."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(f"{host!r} is no name") from error
    return list(dict.fromkeys(str(each[4][0]) for each in found))
