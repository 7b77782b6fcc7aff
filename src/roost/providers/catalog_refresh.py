"""Refresh prices and model facts from the two published sources into the home's `models-data.json`."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from roost.errors import RoostError
from roost.local.cache import write_whole
from roost.models.catalog.facts import ModelFacts, PriceTable
from roost.models.catalog.making import make
from roost.models.catalog.reader import Catalog, Data, catalog
from roost.models.catalog.refreshed import FILE, Source, decode, encode, read_home
from roost.models.http import HttpClient, HttpFailed
from roost.providers.model_directory import checked_url

GENAI, LITELLM = "genai-prices", "litellm"
URLS = {
    GENAI: "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json",
    LITELLM: "https://raw.githubusercontent.com/BerriAI/litellm/main/model_prices_and_context_window.json",
}
"""Where the projects publish their data. The older `prices/data.json` of genai-prices is frozen."""
_MOST_BYTES = 32 * 1024 * 1024
_SECONDS = 120.0
_FACTOR = 10.0
"""A price that changes by a larger factor is taken for a mistake of the source."""
_LOST = 0.1
"""The share of known models that the sources may lack before they are taken for outdated or incomplete."""


class RefreshFailed(RoostError):
    """A source could not be read or used. The former facts stay in force."""

    code, status = "refresh_failed", 502


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A model whose price changed; None is unknown. `kept`: the new price is implausible, so the old one stays in
    force."""

    model: str
    old: PriceTable | None
    new: PriceTable | None
    kept: bool = False


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a refresh. `models`: how many are known now. `notes`: where the sources disagree or lack
    something."""

    dated: str
    sources: tuple[Source, ...]
    models: int
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


class _Document(NamedTuple):
    source: Source
    body: bytes


async def refresh(home: Path, places: Sequence[str] = (), *, dated: str | None = None) -> Refreshed:
    """Merge the two sources and put the result in force for this home.

    places: files or http(s) URLs, at most one of each source; a missing one is read from its published URL.
    dated: the day (YYYY-MM-DD) of the data, where neither the server nor the file's time is right.
    Raises `RefreshFailed`, and changes nothing: for a source that cannot be read, is older than the facts in force, has
    another shape, or lacks many models. Running daemons of the home load the file within seconds.
    """
    documents = await _documents(places)
    day = dated or min(document.source.dated for document in documents.values())
    now = await asyncio.to_thread(lambda: read_home(home).catalog or catalog())
    if day < now.dated:
        raise RefreshFailed(
            f"the data is of {day} and the facts that count now are of {now.dated}: take newer data, or say its real "
            "day with --dated"
        )
    return await asyncio.to_thread(_put, home, documents, day, now)


def undo(home: Path) -> bool:
    """Remove the refreshed data, so that the packaged catalog is in force again. Returns whether there was any."""
    try:
        (home / FILE).unlink()
    except FileNotFoundError:
        return False
    return True


def _put(home: Path, documents: dict[str, _Document], day: str, now: Catalog) -> Refreshed:
    sources = tuple(msgspec.structs.replace(document.source, dated=day) for document in documents.values())
    try:
        data, notes, silent = make(documents[GENAI].body, documents[LITELLM].body, dated=day, before=now.data)
        for account, name, facts in _models(data):
            if any(amount < 0 for amount in _amounts(facts.price).values()):
                raise ValueError(f"the price of {account}/{name} is below zero")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, re.error) as error:
        raise RefreshFailed(
            f"{' and '.join(source.place for source in sources)}: not the data that was expected: {error}"
        ) from error
    data, changes = _weighed(now.data, data)
    _need_models(now.data, data, notes, silent)
    made = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    raw = encode(data, sources, made=made)
    decode(raw)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(home / FILE, raw)
    count = sum(1 for _ in _models(data))
    return Refreshed(dated=day, sources=sources, models=count, changes=tuple(changes), notes=tuple(notes))


async def _documents(places: Sequence[str]) -> dict[str, _Document]:
    """Read the documents, by the source's name. Raises `RefreshFailed`."""
    documents: dict[str, _Document] = {}
    client = HttpClient(idle_timeout=30.0)
    try:
        for place in places:
            document = await _read(client, place, None)
            if documents.setdefault(document.source.name, document) is not document:
                both = f"{documents[document.source.name].source.place} and {document.source.place}"
                raise RefreshFailed(f"both are data of {document.source.name}: {both}; give one of each source")
        for name, url in URLS.items():
            if name not in documents:
                if os.environ.get("ROOST_OFFLINE", "") not in ("", "0"):
                    raise RefreshFailed(f"ROOST_OFFLINE is set: fetch {url} elsewhere and give it with --from FILE")
                documents[name] = await _read(client, url, name)
    finally:
        await client.close()
    return {name: documents[name] for name in URLS}


async def _read(client: HttpClient, place: str, expected: str | None) -> _Document:
    if re.match(r"https?://", place):
        body, day = await _fetched(client, place)
        place = place.partition("?")[0]
    else:
        body, day = await asyncio.to_thread(_file, Path(place).expanduser())
    name = {b"[": GENAI, b"{": LITELLM}.get(body.lstrip()[:1])
    if name is None or expected not in (None, name):
        raise RefreshFailed(f"{place}: this is neither the JSON of genai-prices nor that of LiteLLM")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    digest = hashlib.sha256(body).hexdigest()
    return _Document(
        Source(name=name, place=place, dated=min(day or today, today), sha256=digest, size=len(body)), body
    )


async def _fetched(client: HttpClient, url: str) -> tuple[bytes, str | None]:
    """Return the body, and the server's date of its last change."""
    url = checked_url(url, "the source")
    shown = url.partition("?")[0]
    try:
        async with asyncio.timeout(_SECONDS), client.stream("GET", url, {"accept": "application/json"}) as answer:
            body = await answer.read_all(_MOST_BYTES + 1)
            status, changed = answer.status, answer.headers.get("last-modified")
    except (HttpFailed, TimeoutError) as error:
        why = error.message if isinstance(error, HttpFailed) else f"no whole answer in {_SECONDS:.0f} s"
        raise RefreshFailed(f"{shown}: {why}; fetch the file elsewhere and give it with --from FILE") from error
    if status != 200:
        raise RefreshFailed(f"{shown} answered {status}; fetch the file elsewhere and give it with --from FILE")
    if len(body) > _MOST_BYTES:
        raise RefreshFailed(f"{shown}: more than {_MOST_BYTES // 1024**2} MB, which is too large for a list of prices")
    try:
        return body, parsedate_to_datetime(changed).date().isoformat() if changed else None
    except ValueError:
        return body, None


def _file(path: Path) -> tuple[bytes, str]:
    try:
        with path.open("rb") as file:
            body = file.read(_MOST_BYTES + 1)
        changed = path.stat().st_mtime
    except OSError as error:
        raise RefreshFailed(f"cannot read {path}: {error.strerror}") from error
    if len(body) > _MOST_BYTES:
        raise RefreshFailed(f"{path}: more than {_MOST_BYTES // 1024**2} MB, which is too large for a list of prices")
    return body, datetime.datetime.fromtimestamp(changed, datetime.UTC).date().isoformat()


def _weighed(old: Data, new: Data) -> tuple[Data, list[Change]]:
    """Return the new data, with the old price where the new one is implausible, and the changes."""
    changes: list[Change] = []
    kept: dict[str, dict[str, ModelFacts]] = {}
    for account, name, facts in _models(new):
        before = old.accounts[account].models.get(name) if account in old.accounts else None
        if before is None or before.price == facts.price:
            continue
        keep = _implausible(before.price, facts.price)
        changes.append(Change(model=f"{account}/{name}", old=before.price, new=facts.price, kept=keep))
        if keep:
            made = msgspec.structs.replace(facts, price=before.price, later=before.later)
            kept.setdefault(account, {})[name] = made
    accounts = {
        name: msgspec.structs.replace(account, models={**account.models, **kept.get(name, {})})
        for name, account in new.accounts.items()
    }
    return msgspec.structs.replace(new, accounts=accounts), changes


def _implausible(old: PriceTable | None, new: PriceTable | None) -> bool:
    if old is None or new is None or old.currency != new.currency:
        return False
    before, after = _amounts(old), _amounts(new)
    pairs = [(before[field], after[field]) for field in before if field in after]
    return any(was > 0 and not was / _FACTOR <= now <= was * _FACTOR for was, now in pairs)


def _amounts(price: PriceTable | None) -> dict[str, float]:
    """Return every amount of a price, by its field and tier."""
    steps = [] if price is None else [("", price), *((f"{tier.above}:", tier) for tier in price.tiers)]
    return {
        f"{at}{field}": amount
        for at, step in steps
        for field in ("input", "output", "cached", "written")
        if (amount := getattr(step, field)) is not None
    }


def _need_models(old: Data, new: Data, notes: Sequence[str], silent: Sequence[str]) -> None:
    """Raise `RefreshFailed` where the sources lack too many of the known models."""
    retired = {note.partition(": ")[0] for note in notes if ": retired on " in note}
    known = {f"{account}/{name}": facts for account, name, facts in _models(new)}
    before = {f"{account}/{name}": facts for account, name, facts in _models(old)}
    gone = {name for name in before if name not in known and name not in retired}
    blurred = {name for name, facts in known.items() if facts.window is None and name in before and before[name].window}
    lost = sorted({*silent, *gone, *blurred})
    if len(lost) > len(before) * _LOST:
        raise RefreshFailed(
            f"{len(lost)} of {len(before)} known models are not in these sources any more, as {', '.join(lost[:3])}: "
            "they are old or incomplete"
        )


def _models(data: Data) -> Iterator[tuple[str, str, ModelFacts]]:
    for account, at in data.accounts.items():
        for name, facts in at.models.items():
            yield account, name, facts
