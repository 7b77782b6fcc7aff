"""Encrypt the secrets that a store keeps: tokens of MCP servers, credentials of vaults. AES-256-GCM.

The key is, in this order: that of the variable `ROOST_SEALING_KEY`; where the store is the home's own file, the file
`sealing.key` of the home, made when first needed; else a setting of the store, which all of its nodes read. Only the
first two keep a secret from who reads the whole database."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from roost.errors import ConfigError, Conflict, StoreFailed
from roost.log.coordination import Coordination
from roost.providers import secret_refs
from roost.syncing import make_once

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VARIABLE = "ROOST_SEALING_KEY"
"""References to keys (`file:PATH`, `keyring:SERVICE/NAME`) or keys, apart by blanks. The first seals, all open."""
FILE = "sealing.key"
LEAST = 32
"""Fewest characters of a key: it is no password."""
_SETTING, _FORM, _NONCE = "sealing_key", "1", 12


class SealingKeyMissing(Conflict):
    """Raised for a secret that was sealed with a key that this node does not have."""

    code = "sealing_key_missing"


class _Key(NamedTuple):
    id: str
    value: bytes


class Sealing:
    """Seals and opens secrets. home: the folder of the home. own_store: whether the store is a file of the home."""

    def __init__(
        self,
        settings: Coordination,
        home: Path,
        *,
        own_store: Callable[[], bool],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._settings, self._home, self._own_store, self._environ = settings, home, own_store, environ
        self._first: _Key | None = None
        self._known: dict[str, _Key] = {}

    async def seal(self, secret: bytes, name: str) -> str:
        """Encrypt a secret. name: of what it belongs to; it opens under no other. Raises `ConfigError`,
        `StoreFailed`."""
        if self._first is None:
            await self._load()
        key = self._first = self._first or _key(await self._make())
        nonce = secrets.token_bytes(_NONCE)
        box = nonce + _cipher(key).encrypt(nonce, secret, name.encode())
        return f"{_FORM}.{key.id}.{base64.urlsafe_b64encode(box).decode()}"

    async def open(self, sealed: str, name: str) -> bytes:
        """Decrypt what `seal` made. Raises `SealingKeyMissing`, `Conflict` (`sealed_damaged`), `ConfigError`,
        `StoreFailed`."""
        from cryptography.exceptions import InvalidTag

        form, _, rest = sealed.partition(".")
        id, _, box = rest.partition(".")
        key = await self._find(id)
        try:
            data = base64.urlsafe_b64decode(box)
            if form != _FORM:
                raise ValueError
            return _cipher(key).decrypt(data[:_NONCE], data[_NONCE:], name.encode())
        except (InvalidTag, ValueError):
            raise Conflict(f"the secret of {name!r} is damaged: give it again", code="sealed_damaged") from None

    async def _find(self, id: str) -> _Key:
        if id not in self._known:  # another node may have made it just now
            await self._load()
        if id not in self._known:
            raise SealingKeyMissing(
                f"the secret was sealed with the key {id}, which this node does not have: give it by {VARIABLE}, or"
                f" put the file {FILE} of the home that sealed it into this home"
            )
        return self._known[id]

    async def _load(self) -> None:
        """Read all keys that there are."""
        given, file = await asyncio.to_thread(self._outside)
        setting = await self._settings.setting(_SETTING)
        usual = file if self._own_store() else setting
        first = given[0] if given else usual
        self._first = None if first is None else _key(first)
        keys = [_key(text) for text in (*given, file, setting) if text is not None]
        self._known = {key.id: key for key in keys}

    def _outside(self) -> tuple[list[str], str | None]:
        """Return the keys of the variable, and that of the home's file. Blocks. Raises `ConfigError`."""
        given = [
            secret_refs.read(one, self._environ, where=VARIABLE) if secret_refs.is_reference(one) else one
            for one in self._environ.get(VARIABLE, "").split()
        ]
        if any(len(one) < LEAST for one in given):
            raise ConfigError(
                f"{VARIABLE}: a key has {LEAST} characters or more, such as those of: openssl rand -hex 32"
            )
        return given, _read(self._home / FILE)

    async def _make(self) -> str:
        """Make the first key, for this home or for the store. Returns the one that was first."""
        text = secrets.token_hex(32)
        if self._own_store():
            file = self._home / FILE
            try:
                return await asyncio.to_thread(make_once, file, text, mode=0o600)
            except OSError as error:
                raise StoreFailed(f"cannot make the file {FILE} of the home: {error.strerror}") from error
        made = await self._settings.setting(_SETTING, text)
        assert made is not None
        return made


def _read(file: Path) -> str | None:
    """Return the key of a home's file, None if there is no file. An empty file is not taken for a key that everybody
    knows, nor for none, as what another key sealed may be there. Blocks. Raises `ConfigError`."""
    try:
        text = file.read_text().strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"the file {FILE} of the home cannot be read: {why}") from None
    if len(text) < LEAST:
        raise ConfigError(
            f"the file {FILE} of the home holds no key: put its content back from a backup; if nothing was sealed with"
            " it, delete the file"
        )
    return text


def _key(text: str) -> _Key:
    value = hashlib.sha256(b"roost sealing\0" + text.encode()).digest()
    return _Key(hashlib.sha256(b"roost sealing id\0" + value).hexdigest()[:12], value)


def _cipher(key: _Key) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key.value)
