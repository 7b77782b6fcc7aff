"""The hosts to which the calls of an API may go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

from roost.agent.openapi_options import OpenApi
from roost.features.openapi.catalog import Catalog, Operation, ServerUrl
from roost.tools.checked_http import parts_of
from roost.tools.errors import ToolError


class BadServer(Exception):
    """An API has no server to which its calls may go. The message says why."""


def base_of(api: OpenApi, catalog: Catalog, operation: Operation, document: str) -> str:
    """Return the base URL for calls of an operation, without a slash at its end. document: path or URL of the document,
    which relative servers start from. Raises `BadServer`."""
    if api.server is not None:
        return _checked(api.server)
    given: Sequence[ServerUrl] = operation.servers or catalog.servers
    if not given:
        raise BadServer("the document names no server: set `server`")
    whys: list[str] = []
    for one in given:
        try:
            return _checked(_absolute(_filled(one, api.variables), document))
        except BadServer as why:
            whys.append(str(why))
    raise BadServer(whys[0])


def host_of(base: str) -> str:
    """Return the host of a base URL."""
    return (urlsplit(base).hostname or "").rstrip(".")


def _filled(one: ServerUrl, variables: dict[str, str]) -> str:
    """Return the URL with its variables replaced."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        chosen = variables.get(name, one.defaults.get(name))
        if not chosen:
            raise BadServer(f"the server's variable {name!r} has no value: set it in `variables`")
        if one.values.get(name) and chosen not in one.values[name]:
            raise BadServer(f"the server's variable {name!r} cannot be {chosen!r}: {', '.join(one.values[name])}")
        return chosen

    return re.sub(r"\{([^{}]{1,100})\}", value, one.url)


def _absolute(url: str, document: str) -> str:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url):
        return url
    if document.startswith(("http://", "https://")):
        return urljoin(document, url)
    raise BadServer(f"the document's server {url[:100]!r} has no host: set `server`")


def _checked(url: str) -> str:
    if not re.fullmatch(r"[\x21-\x7e]*", url):
        raise BadServer(f"the server {url[:100]!r} is no URL")
    try:
        parts = parts_of(url)
    except ToolError as error:
        raise BadServer(f"the server cannot be used: {error}") from None
    if parts.query or parts.fragment:
        raise BadServer(f"the server {url[:100]!r} has a query or a fragment")
    return url.rstrip("/")
