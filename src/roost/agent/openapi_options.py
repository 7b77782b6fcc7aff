"""The option `openapi` of an agent: HTTP APIs whose operations are its tools."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeAlias

import msgspec

from roost.log.content import Replay
from roost.policy.gate import Safety
from roost.validated import Validated, listed, option

AuthKind: TypeAlias = Literal["bearer", "key", "basic", "oauth2"]
KeyPlace: TypeAlias = Literal["header", "query", "cookie"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_-][A-Za-z0-9]+)*")
_LONGEST_NAME = 24


class ApiAuth(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """Credentials of an API. Secrets are named, never written: `secret`, `client_secret` and `refresh_token` are names
    in the vault (`[secrets.NAME]` of policy.toml). The document of the API says what is left out here."""

    scheme: str = "*"
    """Glob of the names of the document's security schemes that these are for."""
    kind: AuthKind | None = None
    """How they are sent. Default: as the document says."""
    secret: str | None = None
    """The bearer token, API key or password."""
    user: str | None = None
    """The user of `basic`."""
    place: KeyPlace | None = None
    """Where an API key goes. Default: as the document says."""
    name: str | None = None
    """The name of the header, parameter or cookie of an API key. Default: as the document says."""
    token_url: str | None = None
    """The token endpoint of `oauth2`. Default: as the document says."""
    client_id: str | None = None
    """The client of `oauth2`."""
    client_secret: str | None = None
    """The client's secret of `oauth2`."""
    refresh_token: str | None = None
    """With it `oauth2` refreshes tokens; without it, it uses client credentials."""
    scopes: tuple[str, ...] | None = None
    """The scopes of `oauth2`. Default: as the document says."""

    def __post_init__(self) -> None:
        if self.kind == "oauth2" or self.token_url or self.client_id:
            if not self.client_id and not self.refresh_token:
                raise ValueError("OAuth2 needs a client_id, or the name of a refresh_token")
        elif self.secret is None:
            raise ValueError('these credentials need the name of a secret in the vault: secret = "NAME"')

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of the vault that it uses."""
        return tuple(name for name in (self.secret, self.client_secret, self.refresh_token) if name)


class OpenApi(Validated, frozen=True, omit_defaults=True, kw_only=True, forbid_unknown_fields=True):
    """An API, by its OpenAPI 3.0 or 3.1 or Swagger 2 document."""

    name: str
    """Prefix of its tools, `NAME__OPERATION`."""
    spec: str
    """Path or URL of the document, JSON or YAML."""
    server: str | None = None
    """Base URL in place of the document's. Default: the document's."""
    variables: dict[str, str] = {}
    """Values of variables in the document's server URLs. Default: theirs."""
    operations: tuple[str, ...] = option(default=("*",), converter=listed)
    """Globs of the operations that are offered: names of tools without the prefix, ids of the document, `METHOD /path`,
    or `tag:NAME`."""
    without: tuple[str, ...] = option(default=(), converter=listed)
    """Globs of the operations that are left out."""
    safety: dict[str, Safety] = {}
    """Safety per glob, in place of what is derived from method and text; the first that matches counts."""
    replay: dict[str, Replay] = {}
    """Replay policy per glob, in place of what is derived; the first that matches counts."""
    auth: tuple[ApiAuth, ...] = option(default=(), converter=listed)
    """Credentials."""
    headers: dict[str, str] = {}
    """Headers of each request; no secrets."""
    private: tuple[str, ...] = option(default=(), converter=listed)
    """Hosts with their port (`127.0.0.1:8080`) that may have addresses that are not public."""
    idempotency_key: str | None = None
    """Header for the key of a call, with which the server drops repetitions of it; calls that carry it may run
    again."""
    seconds: Annotated[float, msgspec.Meta(gt=0, le=600)] = 60.0
    """Time limit of a call."""
    shown: Annotated[int, msgspec.Meta(ge=500, le=48_000)] = 16_000
    """The most characters of a response in the result of a call."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > _LONGEST_NAME:
            raise ValueError(
                f"{self.name!r} cannot name an API: use letters, digits, and single _ or - between them, at most"
                f" {_LONGEST_NAME}"
            )
        if not self.spec.strip():
            raise ValueError(f"the API {self.name!r} needs the path or URL of its document: spec")
        for host in self.private:
            if not re.fullmatch(r"[^\s/@]+:\d{1,5}", host):
                raise ValueError(f"private: {host!r} is no host with its port, such as 127.0.0.1:8080")
        for name, value in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,80}", name) or not value.isprintable():
                raise ValueError(f"headers: {name!r} is no header of one line")

    @property
    def secrets(self) -> tuple[str, ...]:
        """The names of the vault that its credentials use."""
        return tuple(dict.fromkeys(name for auth in self.auth for name in auth.secrets))
