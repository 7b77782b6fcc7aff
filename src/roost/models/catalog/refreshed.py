"""Read and write `models-data.json` of a home: newer facts about the packaged catalog's models.

The file holds prices and abilities. Addresses, keys and currency rates always come from the packaged catalog.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import threading
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from roost.models.catalog.facts import ModelFacts, Trait
from roost.models.catalog.reader import Catalog, Data, catalog, decoding

log = logging.getLogger("roost.models")
FILE = "models-data.json"


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A document that facts were taken from. place: URL or file. dated: the day (YYYY-MM-DD) of its facts."""

    name: str
    place: str
    dated: str
    sha256: str
    size: int


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts. models: by account and name."""

    traits: dict[str, Trait]
    models: dict[str, dict[str, ModelFacts]]


class Header(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file. dated: the day of its facts. made: the time (UTC, ISO 8601) of the refresh. base: digest of the
    packaged catalog that it was made with; it is valid with no other. sha256: digest of the bytes of `table`."""

    version: Literal[1] = 1
    dated: str
    made: str
    base: str
    sources: tuple[Source, ...]
    sha256: str
    table: msgspec.Raw


class Reading(NamedTuple):
    """catalog: None when the packaged one is used. fault: why an existing file is not used."""

    catalog: Catalog | None
    fault: str | None = None


def encode(data: Data, sources: tuple[Source, ...], *, made: str) -> bytes:
    """Return the file's bytes."""
    models = {name: account.models for name, account in data.accounts.items()}
    table = msgspec.json.encode(Table(traits=data.traits, models=models))
    return msgspec.json.encode(
        Header(
            dated=data.dated,
            made=made,
            base=catalog().digest,
            sources=sources,
            sha256=hashlib.sha256(table).hexdigest(),
            table=msgspec.Raw(table),
        )
    )


def decode(raw: bytes) -> Catalog:
    """Return the packaged catalog with its facts replaced by the file's. Raises `ValueError` for a file that is
    damaged, or that was made with another packaged catalog."""
    packaged = catalog()
    with decoding:
        header = msgspec.json.decode(raw, type=Header)
        if header.base != packaged.digest:
            raise ValueError("it was made for another version of Roost")
        if hashlib.sha256(header.table).hexdigest() != header.sha256:
            raise ValueError("its contents do not have the hash that it names")
        table = msgspec.json.decode(header.table, type=Table)
    accounts = {
        name: msgspec.structs.replace(account, models=table.models.get(name, {}))
        for name, account in packaged.accounts.items()
    }
    sources = tuple(f"{each.name}: {each.place}, {each.dated}, sha256 {each.sha256}" for each in header.sources)
    made = Catalog(
        Data(dated=header.dated, sources=sources, rates=packaged.rates, traits=table.traits, accounts=accounts),
        refreshed=header.made,
    )
    try:
        for _ in made.cards():  # every trait that it names must exist
            pass
    except KeyError as error:
        raise ValueError(f"it names a trait that it does not have: {error}") from error
    return made


def read_home(home: Path) -> Reading:
    """Return the refreshed catalog of this home, if it has a usable one; the same object until the file changes. Logs
    once why a file is not used. Blocks briefly."""
    path = home / FILE
    try:
        stat = path.stat()
    except OSError:
        return Reading(None)
    with _one_reader:
        return _read(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))


_one_reader = threading.Lock()


@functools.lru_cache(maxsize=8)
def _read(path: Path, stamp: tuple[int, int, int]) -> Reading:
    """Read the file; called only by `read_home`."""
    try:
        return Reading(decode(path.read_bytes()))
    except (OSError, ValueError) as error:  # msgspec's errors are of this kind
        fault = (
            f"{path} is not used: {error}. The packaged catalog of {catalog().dated} counts; make the file anew with "
            "`roost models refresh`, or remove it with `roost models refresh --undo`"
        )
        log.warning("%s", fault)
        return Reading(None, fault)
