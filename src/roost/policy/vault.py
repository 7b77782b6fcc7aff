"""Secrets by name. Agents and tools get handles, `{{secret:NAME}}`; values are inserted only at the point of use."""

from __future__ import annotations

import base64
import copy
import json
import logging
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
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
"""Minimal characters of a secret: a shorter one would match unrelated text."""
_GRAM = 8
_FOREIGN = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(?:_|$)", re.IGNORECASE)
_LIKELY = re.compile(r"(?![/~.]|\w+:/)(?=.*\d)(?=.*[A-Za-z])\S{16,4096}")
_HANDLE = re.compile(r"\{\{secret:([A-Za-z0-9_.-]{1,128})\}\}")


class SecretSource(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Source and use of a secret.

    source: reference to the value (`roost.providers.secret_refs`: env:, keyring: or file:). hosts: globs, maybe with a
    port, of the hosts to which a request from a sandbox may carry it, in a header, over TLS. body: in the request body
    too. loopback: also without TLS to this machine. accounts: globs of the accounts whose sessions may use it; without
    one, only the home's own sessions may."""

    source: str = msgspec.field(name="from")
    hosts: tuple[str, ...] = ()
    body: bool = False
    loopback: bool = False
    accounts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not secret_refs.is_reference(self.source):
            raise ConfigError(f"'from' does not say where the value is. {secret_refs.FORMS}")


class Vault:
    """Secret values, read once. They are in no repr, log or error.

    `scrub` masks them in outgoing text: verbatim; escaped for JSON, Python, a shell, HTML or a URL; in hexadecimal
    without blanks; in base64 on one line, at any offset. This helps against accidents; a program that has a value can
    hide it in other ways.
    """

    def __init__(self, values: Mapping[str, str], *, sources: Mapping[str, SecretSource] | None = None) -> None:
        """sources: of usable secrets; values without a source are only masked."""
        self._values = dict(values)
        self._sources = dict(sources or {})
        needles = {form: name for name, value in values.items() for form in _forms(value)}
        # Longest first: a form may be part of another.
        self._needles = dict(sorted(needles.items(), key=lambda item: -len(item[0])))
        shortest = min(map(len, needles), default=0)
        self._gram = min(_GRAM, max(1, shortest // 2))
        self._stride = shortest - self._gram + 1
        self._grams = {form[at : at + self._gram] for form in needles for at in range(len(form) - self._gram + 1)}

    @classmethod
    def read(cls, sources: Mapping[str, SecretSource], environ: Mapping[str, str], dotenv: Path | None) -> Vault:
        """Read the values of `sources`. Values in the environment and `.env` that look like keys are read too, only to
        be masked. Warns the operator about a source without a value. Blocks: a keyring may have to be unlocked."""
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
        """Names of the usable secrets, without values that are only masked."""
        return tuple(self._sources)

    def of_account(self, account: str | None) -> Vault:
        """Return the vault for a session: one of an account uses the secrets that name it. All are masked for all."""
        if account is None:
            return self
        theirs = copy.copy(self)
        theirs._sources = {
            name: source
            for name, source in self._sources.items()
            if any(fnmatchcase(account, pattern) for pattern in source.accounts)
        }
        return theirs

    def for_egress(self) -> dict[str, Secret]:
        """Return the secrets that may go to some host, for `roost.sandbox.egress.Egress`."""
        from roost.sandbox.egress import Secret

        return {
            name: Secret(value=self._values[name], hosts=source.hosts, body=source.body, loopback=source.loopback)
            for name, source in self._sources.items()
            if source.hosts
        }

    def may_go_to(self, name: str, host: str, port: int) -> bool:
        """Whether a usable secret may be sent to a host by Roost itself: to its `hosts`, or to any if it has none."""
        from roost.sandbox.injection import Secret

        source = self._sources.get(name)
        return source is not None and (not source.hosts or Secret(value="", hosts=source.hosts).is_for(host, port))

    def value(self, name: str) -> str:
        """Return a value for a tool that declares the name, which may be a handle. Raises `NotFound`."""
        handle = _HANDLE.fullmatch(name)
        found = handle[1] if handle else name
        if found not in self._sources:
            raise NotFound(f"there is no secret {found!r}: name it in policy.toml under [secrets.{found}]")
        return self._values[found]

    def scrub(self, text: str) -> str:
        """Replace each value by `[secret:NAME]`. 64 KB without a value take about 0.2 ms."""
        if not self._grams or self._clean(text):
            return text
        for needle, name in self._needles.items():
            if needle in text:
                text = text.replace(needle, f"[secret:{name}]")
        return text

    def _clean(self, text: str) -> bool:
        """Whether the text certainly holds no value. Samples pieces no further apart than the shortest needle allows,
        so each occurrence contains a sampled piece (as in the search of Wu and Manber, 1994)."""
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
        # Only the encoded text that no neighbouring byte can change: whole groups of three bytes.
        begin, end = -skipped % 3, len(data) - (len(data) + skipped) % 3
        if end - begin >= LEAST:
            whole = base64.b64encode(data[begin:end])
            yield from (whole.decode(), whole.replace(b"+", b"-").replace(b"/", b"_").decode())
