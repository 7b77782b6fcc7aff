"""Versions of packages, as in `1.2.3` and `2.0.0-rc.1`, and ranges of them, as in `>=1.2, <2`."""

from __future__ import annotations

import re
from typing import TypeAlias

from roost.features.packages.archive import PackageRefused

_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-([0-9A-Za-z.-]{1,40}))?")
_PART = re.compile(r"\s*(>=|<=|==|>|<|=|\^)?\s*(\d{1,9}(?:\.\d{1,9}){0,2}(?:-[0-9A-Za-z.-]{1,40})?)\s*")
Order: TypeAlias = tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]


def check_version(version: str) -> str:
    """Return the version. Raises `PackageRefused` unless it is `MAJOR.MINOR.PATCH`, perhaps with `-PRERELEASE`."""
    if not _VERSION.fullmatch(version):
        raise PackageRefused(f"{version[:60]!r} is no version: write MAJOR.MINOR.PATCH, as in 1.2.0")
    return version


def order_of(version: str) -> Order:
    """Return a key by which versions sort: a pre-release comes before its release."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return (0, 0, 0, 0, ())
    parts = found[4].split(".") if found[4] else []
    pre = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in parts)
    return (int(found[1]), int(found[2]), int(found[3]), 0 if pre else 1, pre)


def check_range(wanted: str) -> str:
    """Return the range. Raises `PackageRefused` unless it is `*` or bounds with commas between them."""
    if wanted.strip() != "*" and not all(_PART.fullmatch(part) for part in wanted.split(",")):
        raise PackageRefused(f"{wanted[:60]!r} is no range of versions: write as in '>=1.2, <2', '^1.2.0' or '*'")
    return wanted


def fits(version: str, wanted: str) -> bool:
    """Whether a version is in a range. `^1.2` is from 1.2 on, below the next major version."""
    return wanted.strip() == "*" or all(_fits(order_of(version), part) for part in wanted.split(","))


def _fits(version: Order, part: str) -> bool:
    found = _PART.fullmatch(part)
    if found is None:
        return False
    sign = found[1] or "=="
    core, dash, pre = found[2].partition("-")
    bound = order_of(".".join([*core.split("."), "0", "0"][:3]) + dash + pre)
    match sign:
        case ">=":
            return version >= bound
        case "<=":
            return version <= bound
        case ">":
            return version > bound
        case "<":
            return version < bound
        case "^":
            return version >= bound and version[0] == bound[0] and (bound[0] > 0 or version[1] == bound[1])
        case _:
            return version == bound
