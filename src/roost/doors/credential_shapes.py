"""Credentials of vaults as clients of both labs' agent APIs write and read them: the same, but for a few words."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Meta, UnsetType
from msgspec.structs import replace

from roost.errors import Invalid
from roost.features.credentials.credentials import Secrets, ServerOAuth, ServerToken, Use, Variable

_SECRET = 32 * 1024
_HOSTS = 16
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_RESERVED = re.compile(
    r"(?i)(.*_)?proxy|ssl_.*|(.*_)?ca_bundle|ld_.*|dyld_.*|roost_.*|codex_.*|path|home|shell|user|ifs|env"
)
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_LATEST = 253_370_764_800.0
"""The beginning of the year 9999: what is behind it may be no date in another time zone."""
Seconds = Callable[[str, str], float]
"""Reads a time, of the field that is named. Raises `Invalid`."""
SecretText: TypeAlias = Annotated[str, Meta(min_length=1, max_length=_SECRET)]


class _Given(msgspec.Struct, forbid_unknown_fields=True):
    pass


class NoClientSecret(_Given, tag_field="type", tag="none"):
    pass


class BasicSecret(_Given, tag_field="type", tag="client_secret_basic"):
    client_secret: SecretText | None = None


class PostSecret(_Given, tag_field="type", tag="client_secret_post"):
    client_secret: SecretText | None = None


EndpointAuth: TypeAlias = NoClientSecret | BasicSecret | PostSecret


class RefreshGiven(_Given):
    client_id: str
    refresh_token: SecretText
    token_endpoint: str
    token_endpoint_auth: EndpointAuth
    resource: str | None = None
    scope: str | None = None


class OAuthGiven(_Given, tag_field="type", tag="mcp_oauth"):
    access_token: SecretText
    mcp_server_url: str
    expires_at: str | None = None
    refresh: RefreshGiven | None = None


class BearerGiven(_Given, tag_field="type", tag="static_bearer"):
    token: SecretText
    mcp_server_url: str


class Anywhere(_Given, tag_field="type", tag="unrestricted"):
    pass


class SomeHosts(_Given, tag_field="type", tag="limited"):
    allowed_hosts: Annotated[list[str], Meta(min_length=1, max_length=_HOSTS)]


class Location(_Given):
    header: bool | None = None
    body: bool | None = None


class VariableGiven(_Given, tag_field="type", tag="environment_variable"):
    secret_name: str
    secret_value: SecretText
    networking: Anywhere | SomeHosts
    injection_location: Location | None = None


AuthGiven: TypeAlias = OAuthGiven | BearerGiven | VariableGiven


class RefreshPatch(_Given):
    refresh_token: SecretText | None = None
    scope: str | UnsetType | None = UNSET
    token_endpoint_auth: BasicSecret | PostSecret | None = None


class OAuthPatch(_Given, tag_field="type", tag="mcp_oauth"):
    access_token: SecretText | None = None
    expires_at: str | UnsetType | None = UNSET
    refresh: RefreshPatch | None = None


class BearerPatch(_Given, tag_field="type", tag="static_bearer"):
    token: SecretText | None = None


class VariablePatch(_Given, tag_field="type", tag="environment_variable"):
    secret_value: SecretText | None = None
    networking: Anywhere | SomeHosts | None = None
    injection_location: Location | None = None


AuthPatch: TypeAlias = OAuthPatch | BearerPatch | VariablePatch


def use_of(given: AuthGiven, seconds: Seconds) -> tuple[Use, Secrets]:
    """Return what a new credential is for, and its secrets. Raises `Invalid`."""
    match given:
        case BearerGiven():
            return ServerToken(_server(given.mcp_server_url)), Secrets(_value(given.token, "auth.token"))
        case OAuthGiven():
            return _oauth(given, seconds)
        case VariableGiven():
            if not _NAME.fullmatch(given.secret_name) or _RESERVED.fullmatch(given.secret_name):
                raise Invalid("auth.secret_name: letters, digits and _, and none of the names that commands need")
            use = Variable(given.secret_name, _hosts(given.networking))
            secrets = Secrets(_value(given.secret_value, "auth.secret_value"))
            return _located(use, given.injection_location), secrets


def _oauth(given: OAuthGiven, seconds: Seconds) -> tuple[ServerOAuth, Secrets]:
    token = _value(given.access_token, "auth.access_token")
    use = ServerOAuth(_server(given.mcp_server_url), ends=_end(given.expires_at, seconds))
    if (refresh := given.refresh) is None:
        return use, Secrets(token)
    how = refresh.token_endpoint_auth
    secret = "" if isinstance(how, NoClientSecret) else how.client_secret
    if secret is None:
        raise Invalid("auth.refresh.token_endpoint_auth.client_secret: give the client's secret")
    use = replace(
        use,
        refresh=True,
        url=_address(refresh.token_endpoint, "auth.refresh.token_endpoint"),
        client=refresh.client_id[:1000],
        method=_method(how),
        resource=refresh.resource,
        scope=refresh.scope,
    )
    return use, Secrets(token, _value(refresh.refresh_token, "auth.refresh.refresh_token"), secret)


def patched(use: Use, secrets: Secrets, patch: AuthPatch, seconds: Seconds, *, keeps_end: bool) -> tuple[Use, Secrets]:
    """Return what a changed credential is for, and its secrets. keeps_end: a new token without an end keeps that of the
    old one. Raises `Invalid`."""
    match use, patch:
        case ServerToken(), BearerPatch():
            return use, _with_value(secrets, patch.token, "auth.token")
        case Variable(), VariablePatch():
            hosts = use.hosts if patch.networking is None else _hosts(patch.networking)
            after = _located(replace(use, hosts=hosts), patch.injection_location)
            return after, _with_value(secrets, patch.secret_value, "auth.secret_value")
        case ServerOAuth(), OAuthPatch():
            return _patched_oauth(use, secrets, patch, seconds, keeps_end)
        case _:
            raise Invalid(f"auth.type: the credential has the type {use.__struct_config__.tag!r}, and keeps it")


def _patched_oauth(
    use: ServerOAuth, secrets: Secrets, patch: OAuthPatch, seconds: Seconds, keeps_end: bool
) -> tuple[Use, Secrets]:
    secrets = _with_value(secrets, patch.access_token, "auth.access_token")
    if patch.expires_at is not UNSET:
        use = replace(use, ends=_end(patch.expires_at, seconds))
    elif patch.access_token is not None and not keeps_end:
        use = replace(use, ends=None)
    if (refresh := patch.refresh) is None:
        return use, secrets
    if not use.url:
        raise Invalid("auth.refresh: the credential was made without a refresh token; make another one")
    if refresh.refresh_token is not None:
        secrets = replace(secrets, refresh=_value(refresh.refresh_token, "auth.refresh.refresh_token"))
        use = replace(use, refresh=True)
    if refresh.scope is not UNSET:
        use = replace(use, scope=refresh.scope or None)
    if (how := refresh.token_endpoint_auth) is not None and how.client_secret is not None:
        if use.method == "none":
            raise Invalid("auth.refresh.token_endpoint_auth: the client has no secret")
        secrets = replace(secrets, client_secret=how.client_secret)
    return use, secrets


def shown_use(use: Use, stamp: Callable[[float], str], *, locations: bool) -> dict[str, Any]:
    """Return what clients see: never a secret. locations: say where in a request a variable's value goes."""
    match use:
        case ServerToken():
            return {"type": "static_bearer", "mcp_server_url": use.server}
        case Variable():
            hosts = {"type": "unrestricted"} if use.hosts is None else {"type": "limited", "allowed_hosts": use.hosts}
            where = {"injection_location": {"header": use.header, "body": use.body}} if locations else {}
            return {"type": "environment_variable", "secret_name": use.name, "networking": hosts, **where}
        case ServerOAuth():
            refresh = {
                "client_id": use.client,
                "token_endpoint": use.url,
                "token_endpoint_auth": {"type": use.method},
                "resource": use.resource,
                "scope": use.scope,
            }
            return {
                "type": "mcp_oauth",
                "mcp_server_url": use.server,
                "expires_at": None if use.ends is None else stamp(use.ends),
                "refresh": refresh if use.url else None,
            }


def server_address(url: str, where: str) -> str:
    """Check the address of an MCP server. Raises `Invalid`."""
    return _address(url, where)


def _server(url: str) -> str:
    return _address(url, "auth.mcp_server_url")


def _address(url: str, where: str) -> str:
    plain = len(url) <= 2048 and url.isascii() and url.isprintable() and not set(' {}<>"\\') & set(url)
    if not plain or not re.match(r"https?://[^/@?#]+([/?]|$)", url) or not _is_sound(url):
        raise Invalid(f"{where}: an https address, without name and password")
    return url


def _is_sound(url: str) -> bool:
    """Whether host and port can be read, which a session does each time that it looks for its credentials."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _value(value: str, where: str) -> str:
    if not value.isprintable() or not value.strip():
        raise Invalid(f"{where}: a secret is one line of text")
    return value


def _with_value(secrets: Secrets, value: str | None, where: str) -> Secrets:
    return secrets if value is None else replace(secrets, value=_value(value, where))


def _end(given: str | None, seconds: Seconds) -> float | None:
    if given is None:
        return None
    at = seconds(given, "auth.expires_at")
    if not time.time() < at < _LATEST:
        raise Invalid("auth.expires_at: a time in the future, before the year 9999")
    return at


def _hosts(given: Anywhere | SomeHosts) -> tuple[str, ...] | None:
    if isinstance(given, Anywhere):
        return None
    for host in given.allowed_hosts:
        if len(host) > 253 or not _HOST.fullmatch(host):
            raise Invalid(f"auth.networking.allowed_hosts: {host[:80]!r} is no name of a host")
    return tuple(dict.fromkeys(one.lower() for one in given.allowed_hosts))


def _located(use: Variable, given: Location | None) -> Variable:
    if given is None:
        return use
    header = use.header if given.header is None else given.header
    body = use.body if given.body is None else given.body
    if not header and not body:
        raise Invalid("auth.injection_location: the secret goes into headers, into bodies, or both")
    return replace(use, header=header, body=body)


def _method(how: EndpointAuth) -> Literal["none", "client_secret_basic", "client_secret_post"]:
    match how:
        case NoClientSecret():
            return "none"
        case BasicSecret():
            return "client_secret_basic"
        case PostSecret():
            return "client_secret_post"
