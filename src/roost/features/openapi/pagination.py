"""Find how the next page of a response is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast
from urllib.parse import parse_qsl, urljoin, urlsplit

import msgspec

from roost.features.openapi.catalog import Operation
from roost.features.openapi.schemas import brief
from roost.tools.checked_http import Answer

_LINK = re.compile(r"<([^<>]{1,2000})>\s*;([^,<]*)")
_READ = 2 * 1024 * 1024
"""Bytes of a JSON response that is searched for links."""
_TOKENS = {
    ("nextPageToken",): ("pageToken", "page_token"),
    ("next_page_token",): ("page_token", "pageToken"),
    ("next_cursor",): ("cursor", "starting_after"),
    ("nextCursor",): ("cursor",),
    ("response_metadata", "next_cursor"): ("cursor",),
    ("meta", "next_cursor"): ("cursor",),
    ("paging", "next", "after"): ("after",),
    ("pagination", "next_cursor"): ("cursor",),
    ("metadata", "continue"): ("continue",),
    ("next_page",): ("page", "next_page"),
    ("end_cursor",): ("after", "cursor"),
    ("last_id",): ("after", "starting_after"),
}
_URLS = (
    ("next",),
    ("links", "next"),
    ("_links", "next", "href"),
    ("links", "pages", "next"),
    ("paging", "next", "link"),
)


def next_page(operation: Operation, answer: Answer, url: str) -> str | None:
    """Return a line that tells the model how to get the next page, if there is one."""
    if operation.method not in ("GET", "POST"):
        return None
    for target, parameters in _LINK.findall(answer.headers.get("link", "")[:20_000]):
        if re.search(r"""rel\s*=\s*["']?(?:[^"';]*\s)?next\b""", parameters):
            return _of_url(operation, url, target)
    body = _object(answer)
    if not body:
        return None
    return _of_body(operation, body, url)


def _of_body(operation: Operation, body: Mapping[str, Any], url: str) -> str | None:
    arguments = {one.name: one.argument for one in operation.parameters}
    for path, names in _TOKENS.items():
        value = _at(body, path)
        known = next((arguments[name] for name in names if name in arguments), None)
        if known is not None and isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            if path == ("last_id",) and body.get("has_more") is not True:
                continue
            return f"[there are more: call it again with {known}={_value(value)}]"
    for path in _URLS:
        if isinstance(value := _at(body, path), str) and value:
            return _of_url(operation, url, value)
    if body.get("has_more") is True and "starting_after" in arguments:
        items = body.get("data")
        last = cast("list[Any]", items)[-1] if isinstance(items, list) and items else None
        if isinstance(last, dict) and isinstance(id := cast("dict[str, Any]", last).get("id"), str):
            return f"[there are more: call it again with starting_after={_value(id)}]"
    return "[there are more]" if body.get("has_more") is True else None


def _of_url(operation: Operation, url: str, target: str) -> str | None:
    """Tell the arguments that lead to the address of the next page."""
    try:
        following = urlsplit(urljoin(url, target))
        given = parse_qsl(following.query, max_num_fields=100)
    except ValueError:
        return None
    known = {one.name: one.argument for one in operation.parameters if one.place == "query"}
    found = [f"{known[name]}={_value(value)}" for name, value in given if name in known]
    return f"[there are more: call it again with {', '.join(found)}]" if found else "[there are more]"


def _object(answer: Answer) -> Mapping[str, Any]:
    if answer.cut or len(answer.body) > _READ or not answer.body.lstrip().startswith(b"{"):
        return {}
    try:
        found: object = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    return cast("Mapping[str, Any]", found) if isinstance(found, dict) else {}


def _at(body: Mapping[str, Any], path: Iterable[str]) -> Any:
    found: Any = body
    for name in path:
        if not isinstance(found, dict):
            return None
        found = cast("dict[str, Any]", found).get(name)
    return found


def _value(value: Any) -> str:
    return brief(str(value), 300)
