"""Secrets by name. Agents and tools get handles, `{{secret:NAME}}`; values enter only where they are used."""

from __future__ import annotations

import base64
import json
import logging
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import msgspec

from roost.errors import ConfigError, NotFound
from roost.providers import secret_refs
from roost.providers.dotenv import merged

if TYPE_CHECKING:
    from roost.sandbox.egress import Secret

log = logging.getLogger("roost.policy")
LEAST = 8
"""Characters of a secret: a shorter one would be found in texts that have nothing to do with it."""
_GRAM = 8
_FOREIGN = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_|$)", re.IGNORECASE)
_LIKELY = re.compile(r"(?![/~.]|\w+:/)(?=.*\d)(?=.*[A-Za-z])\S{16,4096}")
_HANDLE = re.compile(r"\{\{secret:([A-Za-z0-9_.-]{1,128})\}\}")


class SecretSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a value is (`roost.providers.secret_refs`: env:, keyring: or file:), and to which hosts (globs, maybe with
    a port) a request from inside a sandbox may carry it, in a header, over TLS. `body`: in its body too. `loopback`:
    without TLS to a host of this machine."""

    source: str = msgspec.field(name="from")
    hosts: tuple[str, ...] = ()
    body: bool = False
    loopback: bool = False

    def __post_init__(self) -> None:
        if not secret_refs.is_reference(self.source):
            raise ConfigError(f"'from' does not say where the value is. {secret_refs.FORMS}")


class Vault:
    """Values that were read once. They are in no repr, log or error.

    `scrub` masks them in whatever leaves: as they are, escaped for JSON, Python, a shell, HTML or a URL, in hexadecimal
    without blanks, and in base64 on one line, wherever in the encoded text they stand. It is help against accidents:
    who has a value can hide it otherwise.
    """

    def __init__(self, values: Mapping[str, str], *, sources: Mapping[str, SecretSource] | None = None) -> None:
        """`sources`: of those that can be used; the other values are masked only."""
        self._values = dict(values)
        self._sources = dict(sources or {})
        needles = {form: name for name, value in values.items() for form in _forms(value)}
        # The longest first: a form may be part of another.
        self._needles = dict(sorted(needles.items(), key=lambda item: -len(item[0])))
        shortest = min(map(len, needles), default=0)
        self._gram = min(_GRAM, max(1, shortest // 2))
        self._stride = shortest - self._gram + 1
        self._grams = {form[at : at + self._gram] for form in needles for at in range(len(form) - self._gram + 1)}

    @classmethod
    def read(cls, sources: Mapping[str, SecretSource], environ: Mapping[str, str], dotenv: Path | None) -> Vault:
        """What of `sources` there is, and, to be masked alone, whatever looks like a key in the environment and `.env`.
        A source that leads to no value is told to the operator. Blocks: a keyring may have to be unlocked."""
        env = dict(environ)
        try:
            env = env if dotenv is None else merged(environ, dotenv)
        except ConfigError as error:
            log.warning("%s", error)
        values = {
            name: value for name, value in env.items() if _FOREIGN.search(name) and _LIKELY.fullmatch(value.strip())
        }
        usable: dict[str, SecretSource] = {}
        for name, source in sources.items():
            try:
                value = secret_refs.read(source.source, env, where=f"secrets.{name}")
                if len(value) < LEAST:
                    raise ConfigError(f"secrets.{name}: a secret has at least {LEAST} characters")
            except ConfigError as error:
                log.warning("the secret %s cannot be used: %s", name, error)
                continue
            values = {other: known for other, known in values.items() if known != value}
            values[name], usable[name] = value, source
        return cls(values, sources=usable)

    def __repr__(self) -> str:
        return f"Vault({', '.join(self.names)})"

    def __bool__(self) -> bool:
        return bool(self._values)

    @property
    def names(self) -> tuple[str, ...]:
        """Of those that can be used, not of what is only masked."""
        return tuple(self._sources)

    def for_egress(self) -> dict[str, Secret]:
        """For `roost.sandbox.egress.Egress`: those that may go to some host."""
        from roost.sandbox.egress import Secret

        return {
            name: Secret(value=self._values[name], hosts=source.hosts, body=source.body, loopback=source.loopback)
            for name, source in self._sources.items()
            if source.hosts
        }

    def value(self, name: str) -> str:
        """For a tool that declares the name, which may be a handle. Raises `NotFound`."""
        handle = _HANDLE.fullmatch(name)
        found = handle[1] if handle else name
        if found not in self._sources:
            raise NotFound(f"there is no secret {found!r}: name it in policy.toml under [secrets.{found}]")
        return self._values[found]

    def scrub(self, text: str) -> str:
        """The text with `[secret:NAME]` for each value. 64 KB without any take about 0.2 ms."""
        if not self._grams or self._clean(text):
            return text
        for needle, name in self._needles.items():
            if needle in text:
                text = text.replace(needle, f"[secret:{name}]")
        return text

    def _clean(self, text: str) -> bool:
        """Whether surely nothing is in it. Every place of a needle holds one of the pieces that are looked at, since
        they are no further apart than the shortest needle allows (as in the search of Wu and Manber, 1994)."""
        gram = self._gram
        return self._grams.isdisjoint([text[at : at + gram] for at in range(0, len(text), self._stride)])


def _forms(value: str) -> Iterator[str]:
    escaped = json.dumps(value)[1:-1]
    yield from (value, escaped, json.dumps(escaped)[1:-1], escaped.replace("/", "\\/"), repr(value)[1:-1])
    yield value.replace("'", "'\\''")
    for quoted in (quote(value, safe=""), quote(value), quote_plus(value)):
        yield from (quoted, re.sub("%..", lambda found: found[0].lower(), quoted))
    import html  # with its table of 2,231 entities

    yield from (html.escape(value), html.escape(value, quote=False))
    data = value.encode()
    yield from (data.hex(), data.hex().upper())
    for skipped in range(3):
        # Of the encoded text only what no neighbour can change: whole groups of three bytes.
        begin, end = -skipped % 3, len(data) - (len(data) + skipped) % 3
        if end - begin >= LEAST:
            whole = base64.b64encode(data[begin:end])
            yield from (whole.decode(), whole.replace(b"+", b"-").replace(b"/", b"_").decode())
