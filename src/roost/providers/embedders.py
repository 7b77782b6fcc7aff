"""Resolve the name of an embedder."""

from __future__ import annotations

import asyncio
import re
import threading
from pathlib import Path

from roost.errors import ConfigError
from roost.local.cache import cache_dir
from roost.local.embed.base import Embedder, Metering
from roost.local.embed.cached import Cached
from roost.local.embed.http_embedder import HttpEmbedder
from roost.local.embed.local import NAME as LOCAL
from roost.local.embed.local import LocalEmbedder
from roost.local.embed.store import VectorStore
from roost.local.embed.wire import embed_wire
from roost.models.http import HttpClient
from roost.models.wires import wire as make_wire
from roost.providers.accounts import Models
from roost.routing.retry import Retry

_SIZED = re.compile(r"(.+)@(\d{1,5})")
_BY_ACCOUNT = {"cohere": "cohere"}
"""The protocol of accounts that speak another one than their wire says."""


def cache_file() -> Path:
    """Return the file of vectors that all processes of this user share: in `$ROOST_CACHE`, else in the user's cache
    directory."""
    return cache_dir().parent / "embeddings-1.sqlite"


class Embedders:
    """Resolve names to embedders, once each. Thread-safe; the embedders belong to one event loop.

    Names: `account/model` with an account of `models`, `http://host:port/v1#model`, `local`; all but the last may end
    in `@SIZE`, the number of dimensions to request. Prices and keys are those of `models`. Vectors are cached in the
    file `cache` (`cache_file` by default), up to `embeddings.cache_mb` of the configuration; 0 turns the cache off.
    """

    def __init__(
        self, models: Models, *, cache: Path | None = None, metering: Metering | None = None, retry: Retry | None = None
    ) -> None:
        self._models = models
        self._metering = metering
        self._retry = retry
        self._client = HttpClient()
        self._lock = threading.Lock()
        self._made: dict[str, Embedder] = {}
        room = models.config.embeddings.cache_mb
        self._store = VectorStore(cache or cache_file(), room) if room > 0 else None

    def resolve(self, name: str | None = None) -> Embedder:
        """Return the embedder of this name; None: the configured default, else `local`. May block on a keyring. Raises
        `ConfigError`, which names what to set."""
        full = name or self._models.config.embeddings.default or LOCAL
        with self._lock:
            if (made := self._made.get(full)) is None:
                made = self._make(full)
                made = self._made[full] = Cached(made, self._store) if self._store else made
            return made

    async def close(self) -> None:
        with self._lock:
            made = list(self._made.values())
            self._made.clear()
        for one in made:
            await one.close()
        await self._client.close()
        if self._store is not None:
            await asyncio.to_thread(self._store.close)

    def _make(self, name: str) -> Embedder:
        if name in ("local", LOCAL):
            return LocalEmbedder()
        sized = _SIZED.fullmatch(name)
        full, size = (sized[1], int(sized[2])) if sized else (name, None)
        at_url = "://" in full
        where, _, model = full.partition("#" if at_url else "/")
        if not model or size == 0:
            raise ConfigError(
                f"{name!r} names no model for embeddings: use 'account/model' as in 'openai/text-embedding-3-small', "
                f"'http://host:port/v1#model', or 'local'"
            )
        models = self._models
        card = models.card(full)
        endpoint = models.endpoint(full if at_url else where)
        retry = self._retry
        if retry is None and (entry := models.config.accounts.get(where)):
            retry = entry.retry
        return HttpEmbedder(
            model=model,
            name=full,
            size=size,
            endpoint=endpoint,
            wire=embed_wire("openai" if at_url else self._wire(where)),
            window=card.profile.window if card.kind == "embedding" else None,
            price=card.profile.price,
            client=self._client,
            metering=self._metering,
            retry=retry,
        )

    def _wire(self, account: str) -> str:
        known = self._models.account(account)
        protocol = known and (_BY_ACCOUNT.get(account) or make_wire(known.wire).embeddings)
        if not protocol:
            raise ConfigError(
                f"the account {account!r} makes no embeddings: use one of openai, google, cohere, another that speaks "
                "OpenAI's protocol, or 'local'"
            )
        return protocol
