"""Build the HTTP request of a call: parameters in the styles of OpenAPI, and bodies."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, cast
from urllib.parse import quote

import msgspec

from roost.features.openapi.catalog import Encoding, Operation, Parameter
from roost.tools.errors import ToolError

_RESERVED = ":/?#[]@!$&'()*+,;="
_SEPARATORS = {"form": ",", "spaceDelimited": "%20", "pipeDelimited": "%7C", "tabs": "%09", "simple": ","}
BODY_CAP = 32 * 1024 * 1024
"""Most bytes of a request body."""
Pairs: TypeAlias = list[tuple[str, str]]


class UploadFile(NamedTuple):
    """A file of the workspace."""

    name: str
    data: bytes


ReadFile: TypeAlias = Callable[[str], UploadFile]
"""Read a file of the workspace. Raises `ToolError`."""


class Draft(NamedTuple):
    """A request without credentials. path, query: encoded; query without the question mark. cookies: encoded pairs."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    cookies: list[str]
    body: bytes | None


def build_request(operation: Operation, arguments: Mapping[str, Any], read: ReadFile) -> Draft:
    """Build a request. Raises `ToolError`, which tells the model what is wrong with its arguments."""
    path, query = operation.path, list[str]()
    headers = {"Accept": operation.accept}
    cookies: list[str] = []
    for one in operation.parameters:
        value = arguments.get(one.argument)
        if value is None:
            if one.required:
                raise ToolError(f"{one.argument!r} is missing")
            continue
        match one.place:
            case "path":
                path = path.replace(f"{{{one.name}}}", path_value(one, value))
            case "query":
                query += query_pairs(one, value)
            case "header":
                headers[one.name] = header_value(one, value)
            case "cookie":
                cookies += [pair.replace(";", "%3B") for pair in query_pairs(one, value)]
    media, body = _body(operation, arguments, read)
    if media is not None:
        headers["Content-Type"] = media
    return Draft(operation.method, path, "&".join(query), headers, cookies, body)


def file_paths(operation: Operation, arguments: Mapping[str, Any]) -> list[str]:
    """Return the files of the workspace that a call sends."""
    body = operation.body
    if body is None:
        return []
    if body.form == "binary":
        return _paths(arguments.get("file"))
    fields = _named(arguments.get("body"), operation.renamed)
    if body.form != "multipart" or not isinstance(fields, Mapping):
        return []
    named = cast("Mapping[str, Any]", fields)
    return [path for name in body.files for path in _paths(named.get(name))]


def _paths(value: Any) -> list[str]:
    return [str(each) for each in (value if _several(value) else [value]) if each is not None]


# Parameters


def path_value(one: Parameter, value: Any) -> str:
    """Return a path parameter, encoded. Raises `ToolError` for a value that would lead to another path."""
    if one.style == "json":
        return quote(_json(value), safe="")
    items = _items(value)
    names = isinstance(value, Mapping)
    safe = "" if not one.reserved else "".join(set(_RESERVED) - set("/?#"))
    values = [(quote(name, safe=""), quote(text, safe=safe)) for name, text in items]
    plain = ",".join(f"{n},{v}" if names and not one.explode else f"{n}={v}" if names else v for n, v in values)
    if one.style == "label":
        joined = "." + (plain.replace(",", ".") if one.explode else plain)
    elif one.style == "matrix":
        name = quote(one.name, safe="")
        if one.explode and names:
            joined = "".join(f";{n}={v}" for n, v in values)
        elif one.explode and _several(value):
            joined = "".join(f";{name}={v}" for _, v in values)
        else:
            joined = f";{name}={plain}"
    else:
        joined = plain
    if joined in ("", ".", ".."):
        raise ToolError(f"{one.argument!r} is {value!r}, which cannot stand in a path")
    return joined


def query_pairs(one: Parameter, value: Any) -> list[str]:
    """Return the encoded `name=value` pairs of a query or cookie parameter."""
    safe = _RESERVED.replace("&", "").replace("=", "").replace("+", "").replace("#", "") if one.reserved else ""
    return [f"{quote(name, safe='[]')}={text}" for name, text in _pairs(one.name, one.style, one.explode, value, safe)]


def header_value(one: Parameter, value: Any) -> str:
    """Return a header. Raises `ToolError` for one with control characters."""
    if one.style == "json":
        text = _json(value)
    else:
        names = isinstance(value, Mapping)
        joined = "=" if one.explode else ","
        text = ",".join(f"{name}{joined}{item}" if names else item for name, item in _items(value))
    if not text.isprintable() or not text.isascii():
        raise ToolError(f"{one.argument!r} goes into a header: only printable ASCII characters are possible")
    return text


def _pairs(name: str, style: str, explode: bool, value: Any, safe: str) -> Pairs:
    """Return the names, as they are, and the encoded values of a query or form field."""
    if style == "json":
        return [(name, quote(_json(value), safe=safe))]
    if style == "deepObject":
        return [(key, quote(text, safe=safe)) for key, text in _deep(name, value)]
    items = [(key, quote(text, safe=safe)) for key, text in _items(value)]
    if isinstance(value, Mapping):
        if explode:
            return items
        flat = [part for key, text in items for part in (quote(key, safe=safe), text)]
        return [(name, _SEPARATORS.get(style, ",").join(flat))]
    if _several(value) and explode:
        return [(name, text) for _, text in items]
    return [(name, _SEPARATORS.get(style, ",").join(text for _, text in items))]


def _deep(name: str, value: Any, depth: int = 0) -> Pairs:
    """Return `name[key]=value` pairs of nested objects. Lists have numbers, as most servers read them."""
    if depth > 8:
        raise ToolError(f"{name!r} is nested too deeply")
    if isinstance(value, Mapping):
        named = cast("Mapping[str, Any]", value)
        return [pair for key, each in named.items() for pair in _deep(f"{name}[{key}]", each, depth + 1)]
    if _several(value):
        return [pair for n, each in enumerate(value) for pair in _deep(f"{name}[{n}]", each, depth + 1)]
    return [] if value is None else [(name, scalar(value))]


def _items(value: Any) -> Pairs:
    """Return the fields of an object, the items of a list (each under an empty name), or the one value."""
    if isinstance(value, Mapping):
        named = cast("Mapping[str, Any]", value)
        return [(str(key), scalar(each)) for key, each in named.items() if each is not None]
    if _several(value):
        return [("", scalar(each)) for each in value if each is not None]
    return [("", scalar(value))]


def _several(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def scalar(value: Any) -> str:
    """Return the text of a value in a URL, header or form."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


# Bodies


def _body(operation: Operation, arguments: Mapping[str, Any], read: ReadFile) -> tuple[str | None, bytes | None]:
    body = operation.body
    if body is None:
        return None, None
    value = arguments.get("file" if body.form == "binary" else "body")
    if value is None:
        if body.required:
            raise ToolError(f"{'file' if body.form == 'binary' else 'body'!r} is missing")
        return None, None
    media, data = body.media, b""
    if body.form == "binary":
        data = read(str(value)).data
    elif body.form == "text":
        data = value.encode() if isinstance(value, str) else msgspec.json.encode(value)
    elif body.form == "json":
        data = msgspec.json.encode(_named(value, operation.renamed))
    else:
        fields = _named(value, operation.renamed)
        if not isinstance(fields, Mapping):
            raise ToolError("'body' must be an object of fields")
        named = cast("Mapping[str, Any]", fields)
        if body.form == "form":
            data = _form(named, body.encodings)
        else:
            media, data = _multipart(named, body.encodings, body.files, read)
    if len(data) > BODY_CAP:
        raise ToolError(f"the body of the request has {len(data)} bytes; at most {BODY_CAP} can be sent")
    return media, data


def _named(value: Any, renamed: Mapping[str, str], depth: int = 0) -> Any:
    """Give properties the names that they have in the document."""
    if not renamed or depth > 64:
        return value
    if isinstance(value, Mapping):
        named = cast("Mapping[str, Any]", value)
        return {renamed.get(name, name): _named(each, renamed, depth + 1) for name, each in named.items()}
    return [_named(each, renamed, depth + 1) for each in value] if _several(value) else value


def _form(fields: Mapping[str, Any], encodings: Mapping[str, Encoding]) -> bytes:
    pairs: list[str] = []
    for name, value in fields.items():
        if value is None:
            continue
        one = encodings.get(name)
        # Without an encoding, nested values are sent as most servers of forms read them: with brackets.
        nested = one is None and (isinstance(value, Mapping) or any(map(_is_nested, value if _several(value) else ())))
        style, explode = ("deepObject", True) if nested else ("form", True) if one is None else (one.style, one.explode)
        pairs += [f"{quote(key, safe='[]')}={text}" for key, text in _pairs(name, style, explode, value, "")]
    return "&".join(pairs).encode()


def _is_nested(value: Any) -> bool:
    return isinstance(value, Mapping) or _several(value)


def _multipart(
    fields: Mapping[str, Any], encodings: Mapping[str, Encoding], files: Sequence[str], read: ReadFile
) -> tuple[str, bytes]:
    boundary = f"roost-{secrets.token_hex(16)}"
    out: list[bytes] = []
    for name, value in fields.items():
        media = encodings[name].media if name in encodings else None
        for each in value if _several(value) and (name in files or not any(map(_is_nested, value))) else [value]:
            if each is None:
                continue
            if name in files:
                file = read(str(each))
                out += _part(boundary, name, file.data, media or "application/octet-stream", file.name)
            elif _is_nested(each):
                out += _part(boundary, name, msgspec.json.encode(each), media or "application/json")
            else:
                out += _part(boundary, name, scalar(each).encode(), media)
    return f"multipart/form-data; boundary={boundary}", b"".join([*out, f"--{boundary}--\r\n".encode()])


def _part(boundary: str, name: str, data: bytes, media: str | None, file: str | None = None) -> list[bytes]:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"'
    head += "" if file is None else f'; filename="{_quoted(file)}"'
    head += "" if media is None else f"\r\nContent-Type: {media}"
    return [head.encode(), b"\r\n\r\n", data, b"\r\n"]


def _quoted(text: str) -> str:
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
