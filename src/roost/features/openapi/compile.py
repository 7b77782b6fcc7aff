"""Compile a document into a catalog of operations.

Each operation is compiled by itself: one that is wrong or too odd becomes a `NoTool` with the reason."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import msgspec

from roost.features.openapi import swagger2
from roost.features.openapi.catalog import (
    Body,
    BodyForm,
    Catalog,
    Encoding,
    NoTool,
    Operation,
    Parameter,
    Place,
    Scheme,
    ServerUrl,
)
from roost.features.openapi.document import (
    BadDocument,
    Json,
    References,
    Unusable,
    as_list,
    as_object,
    as_text,
    read_document,
)
from roost.features.openapi.safety import safety_of
from roost.features.openapi.schemas import Schemas, brief

_METHODS = ("get", "put", "post", "delete", "patch", "head")
_MOST = 5_000
_SIZE = 24 * 1024
"""Most bytes of the schema of one operation."""
_ABOUT = 900
_OF_ROOST = {"host", "content-length", "connection", "transfer-encoding", "upgrade", "te", "trailer", "cookie"}
_IGNORED = _OF_ROOST | {"accept", "content-type", "authorization", "user-agent", "accept-encoding"}
_STYLES: dict[str, tuple[str, ...]] = {
    "path": ("simple", "label", "matrix"),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject", "tabs"),
    "header": ("simple",),
    "cookie": ("form",),
}
_KEY = re.compile(r"idempotency-?key|x-idempotency-?key|idempotence-?key", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
"""What a name of a header or a cookie may be (RFC 9110)."""
_RESERVED = ("body", "file", "save_to")


class _Found(NamedTuple):
    method: str
    path: str
    operation: Json
    shared: Json
    """What the path says for all its operations."""


def compile_document(data: bytes) -> Catalog:
    """Compile a document. Raises `BadDocument`."""
    root = read_document(data)
    if not isinstance(root.get("paths"), dict) and not root.get("webhooks") and not root.get("components"):
        raise BadDocument("it has no paths")
    compiler = _Compiler(root)
    info = as_object(root.get("info"))
    found = list(_operations(root))
    ids = Counter(_id(one) for one in found)
    operations: list[Operation] = []
    no_tools: list[NoTool] = []
    taken: set[str] = set()
    for one in found[:_MOST]:
        try:
            name = _id(one)
            unique = name if ids[name] == 1 else f"{name}_{digest_of(one.method, one.path)}"
            if unique in taken:
                raise Unusable("another operation has its name")
            taken.add(unique)
            operations.append(compiler.operation(one, unique))
        except Unusable as why:
            no_tools.append(NoTool(f"{one.method} {one.path[:200]}", str(why)))
        except RecursionError:
            no_tools.append(NoTool(f"{one.method} {one.path[:200]}", "its schemas are nested too deeply"))
    if more := len(found) - _MOST:
        no_tools += [NoTool("the rest", f"{more} operations more than {_MOST}")] if more > 0 else []
    version = as_text(root.get("openapi")) or as_text(root.get("swagger"))
    return Catalog(
        title=brief(as_text(info.get("title")), 120) or "an API without a title",
        version=brief(str(info.get("version") or ""), 40),
        format=f"OpenAPI {version}" if "openapi" in root else f"Swagger {version}",
        operations=tuple(operations),
        schemes=compiler.schemes(),
        servers=compiler.servers,
        no_tools=tuple(no_tools),
    )


def digest_of(*texts: str) -> str:
    """Return six letters that stand for the texts in names."""
    return hashlib.blake2b("\0".join(texts).encode("utf-8", "replace"), digest_size=3).hexdigest()


def _operations(root: Json) -> Iterator[_Found]:
    references = References(root)
    for path, item in as_object(root.get("paths")).items():
        if not path.startswith("/"):
            continue
        try:
            shared = references.whole(item)
        except Unusable:
            shared = as_object(item)
        for method in _METHODS:
            if isinstance(shared.get(method), dict):
                yield _Found(method.upper(), path, as_object(shared[method]), shared)


def _id(one: _Found) -> str:
    given = as_text(one.operation.get("operationId")) or f"{one.method.lower()}_{one.path}"
    return re.sub(r"[^A-Za-z0-9]+", "_", given).strip("_")[:120] or digest_of(one.method, one.path)


class _Compiler:
    def __init__(self, root: Json) -> None:
        self._root, self._references = root, References(root)
        self._old = "swagger" in root and "openapi" not in root
        self.servers = _servers(
            swagger2.servers_of(root) if self._old else as_list(root.get("servers")) or [{"url": "/"}]
        )
        self._security = _security(root.get("security"))

    def operation(self, one: _Found, id: str) -> Operation:
        """Compile one operation. Raises `Unusable`."""
        schemas = Schemas(self._references)
        given, body = self._inputs(one)
        properties: Json = {}
        required: list[str] = []
        parameters, key_header = self._parameters(given, schemas, properties, required)
        _check_path(one.path, parameters)
        compiled = self._body(body, schemas, properties, required)
        saves = self._saves(one.operation)
        if saves:
            properties["save_to"] = {
                "type": "string",
                "description": "path in the workspace at which to save the response, if it is not text",
            }
        summary, deprecated = as_text(one.operation.get("summary")), one.operation.get("deprecated") is True
        name = as_text(one.operation.get("operationId"))
        own_servers = as_list(one.operation.get("servers")) or as_list(one.shared.get("servers"))
        return Operation(
            id=id,
            method=one.method,
            path=one.path,
            about=_about(one, deprecated),
            schema=_encoded(properties, required),
            safety=safety_of(one.method, name, summary, one.path),
            original=name[:200],
            tags=tuple(brief(tag, 60) for tag in as_list(one.operation.get("tags")) if isinstance(tag, str)),
            parameters=parameters,
            body=compiled,
            renamed=schemas.renamed,
            servers=_servers(own_servers),
            security=_security(one.operation["security"]) if "security" in one.operation else self._security,
            key_header=key_header,
            saves=saves,
            deprecated=deprecated,
        )

    def _inputs(self, one: _Found) -> tuple[list[Json], Json]:
        """Return the parameters, those of the path included, and the request body."""
        found: dict[tuple[str, str], Json] = {}
        for given in (*as_list(one.shared.get("parameters")), *as_list(one.operation.get("parameters"))):
            parameter = self._references.whole(given)
            found[as_text(parameter.get("name")), as_text(parameter.get("in"))] = parameter
        if self._old:
            return swagger2.operation_of(self._root, one.operation, list(found.values()))
        return list(found.values()), self._references.whole(one.operation.get("requestBody"))

    def _parameters(
        self, given: list[Json], schemas: Schemas, properties: Json, required: list[str]
    ) -> tuple[tuple[Parameter, ...], str | None]:
        found: list[Parameter] = []
        key_header: str | None = None
        for one in given:
            name, place = as_text(one.get("name")), as_text(one.get("in"))
            if place not in _STYLES or not name or len(name) > 200 or not name.isprintable():
                raise Unusable(f"a parameter has no name, or is in {place[:40]!r}")
            if place in ("header", "cookie") and not _TOKEN.fullmatch(name):
                raise Unusable(f"a parameter cannot be the name of a {place}")
            if place == "header" and name.lower() in _IGNORED:
                continue
            if place == "header" and _KEY.fullmatch(name):
                key_header = name
                continue
            must = one.get("required") is True or place == "path"
            argument = _argument(name, place, {*properties, *_RESERVED})
            schema, style, explode = _form(one, place)
            found.append(
                Parameter(name, argument, cast("Place", place), style, explode, must, one.get("allowReserved") is True)
            )
            fitted = schemas.fit(schema)
            text = brief(as_text(one.get("description")), 240)
            properties[argument] = {**fitted, "description": text} if text else fitted
            required += [argument] if must else []
        return tuple(found), key_header

    def _body(self, given: Json, schemas: Schemas, properties: Json, required: list[str]) -> Body | None:
        chosen = _chosen(as_object(given.get("content")))
        if chosen is None:
            return None
        media, form, content = chosen
        must, text = given.get("required") is True, brief(as_text(given.get("description")), 240)
        name = "file" if form == "binary" else "body"
        required += [name] if must else []
        if form == "binary":
            said = f"path of a file of the workspace, which is sent as {media}"
            properties["file"] = {"type": "string", "description": said}
            return Body(media, form, must)
        if form == "text":
            properties["body"] = {"type": "string", "description": text or f"the request body, {media}"}
            return Body(media, form, must)
        schema: object = content.get("schema")
        files = self._files(schema) if form == "multipart" else ()
        fitted = schemas.fit(schema)
        for one in files:
            if isinstance(fitted.get("properties"), dict) and one in fitted["properties"]:
                fitted["properties"][one] = {"type": "string", "description": "path of a file of the workspace"}
        properties["body"] = {**fitted, "description": text} if text and "description" not in fitted else fitted
        encodings = {name: _encoding(as_object(one)) for name, one in as_object(content.get("encoding")).items()}
        return Body(media, form, must, encodings, files)

    def _files(self, schema: object) -> tuple[str, ...]:
        """Return the fields of a multipart body that are files."""
        found: list[str] = []
        for name, given in as_object(self._references.whole(schema).get("properties")).items():
            one = self._references.whole(given)
            if one.get("format") == "binary" or as_text(one.get("contentMediaType")) == "application/octet-stream":
                found.append(name)
        return tuple(found)

    def _saves(self, operation: Json) -> bool:
        responses = swagger2.responses_of(self._root, operation) if self._old else as_object(operation.get("responses"))
        for code, given in responses.items():
            if code.startswith("2"):
                media = list(as_object(self._references.whole(given).get("content")))
                if media and not any(is_text(one) or one == "*/*" for one in media):
                    return True
        return False

    def schemes(self) -> dict[str, Scheme]:
        components = as_object(self._root.get("components"))
        given = swagger2.schemes_of(self._root) if self._old else as_object(components.get("securitySchemes"))
        found: dict[str, Scheme] = {}
        for name, one in given.items():
            try:
                found[name[:200]] = _scheme(self._references.whole(one))
            except Unusable:
                found[name[:200]] = Scheme("other")
        return found


def is_text(media: str) -> bool:
    """Whether a media type is text that a model can read."""
    kind = media.partition(";")[0].strip().lower()
    return kind.startswith("text/") or bool(
        re.fullmatch(r"application/(?:.*\+)?(?:json|xml|yaml|x-yaml|javascript|x-ndjson|graphql|problem)(?:-.*)?", kind)
    )


def _encoded(properties: Json, required: list[str]) -> msgspec.Raw:
    """Return the schema of an operation's arguments. Raises `Unusable` if it is too large."""
    schema: Json = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    encoded = msgspec.json.encode(schema)
    if len(encoded) > _SIZE and "body" in properties:  # the API itself refuses what is wrong in it
        kind = {"type": properties["body"]["type"]} if "type" in properties["body"] else {}
        properties["body"] = {**kind, "description": "the request body; its schema is too large to show"}
        encoded = msgspec.json.encode(schema)
    if len(encoded) > 2 * _SIZE:
        raise Unusable(f"the schema of its parameters has {len(encoded)} bytes")
    return msgspec.Raw(encoded)


def _about(one: _Found, deprecated: bool) -> str:
    summary = brief(as_text(one.operation.get("summary")), 200)
    text = brief(as_text(one.operation.get("description")), _ABOUT)
    if text.lower().startswith(summary.lower().rstrip(".")):
        summary, text = text, ""
    lines = [summary or text or f"{one.method} {one.path}", text if summary else ""]
    lines.append(f"{one.method} {brief(one.path, 200)}{' (deprecated)' if deprecated else ''}")
    return "\n".join(dict.fromkeys(line for line in lines if line))


def _check_path(path: str, parameters: tuple[Parameter, ...]) -> None:
    plain = re.sub(r"\{[^{}]*\}", "x", path)
    if not re.fullmatch(r"/[\x21-\x7e]*", plain) or "#" in plain or re.search(r"/\.\.?(?:/|$)", plain):
        raise Unusable("its path is not one that can be sent")
    wanted = set(re.findall(r"\{([^{}]+)\}", path))
    given = {one.name for one in parameters if one.place == "path"}
    if wanted != given:
        missing = ", ".join(sorted(wanted ^ given))[:100]
        raise Unusable(f"its path and its path parameters do not fit together: {missing}")


def _argument(name: str, place: str, taken: set[str]) -> str:
    """Return the name of the tool's argument for a parameter."""
    base = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")[:56] or "value"
    shown, number = base, 2
    while shown in taken:
        shown, number = (f"{base}_{place}", number) if shown == base else (f"{base}_{place}_{number}", number + 1)
    return shown


def _form(one: Json, place: str) -> tuple[Any, str, bool]:
    """Return the schema of a parameter, its style and whether it is exploded. Raises `Unusable`."""
    content = as_object(one.get("content"))
    if content:
        media, inner = next(iter(content.items()))
        if "json" not in media and not media.startswith("text/"):
            raise Unusable(f"a parameter is {media[:60]!r}, which cannot be sent")
        return as_object(inner).get("schema") or {}, "json", False
    style = as_text(one.get("style")) or _STYLES[place][0]
    if style not in _STYLES[place]:
        raise Unusable(f"the parameter {as_text(one.get('name'))[:60]!r} has the style {style[:40]!r} in {place}")
    explode = one.get("explode")
    return one.get("schema") or {}, style, explode if isinstance(explode, bool) else style == "form"


def _chosen(content: Json) -> tuple[str, BodyForm, Json] | None:
    """Choose the media type in which a body is sent."""
    forms: list[tuple[int, str, BodyForm, Json]] = []
    for media, one in content.items():
        kind = media.partition(";")[0].strip().lower()
        if kind in ("application/json", "*/*", "application/*"):
            sent = "application/json" if "*" in kind else media
            forms.append((0, sent, "json", as_object(one)))
        elif kind.endswith(("+json", "/json")):
            forms.append((2 if kind == "application/json-patch+json" else 1, media, "json", as_object(one)))
        elif kind == "application/x-www-form-urlencoded":
            forms.append((3, media, "form", as_object(one)))
        elif kind == "multipart/form-data":
            forms.append((4, "multipart/form-data", "multipart", as_object(one)))
        elif is_text(kind):
            forms.append((5, media, "text", as_object(one)))
        elif re.fullmatch(r"[\w.+-]+/[\w.+*-]+", kind):
            forms.append((6, "application/octet-stream" if "*" in kind else media, "binary", as_object(one)))
    if not forms:
        return None
    _, media, form, one = min(forms, key=lambda each: each[0])
    if not re.fullmatch(r"[\x20-\x7e]{1,200}", media):
        raise Unusable("the media type of its body is not one")
    return media, form, one


def _encoding(one: Json) -> Encoding:
    style, explode, media = as_text(one.get("style")) or "form", one.get("explode"), as_text(one.get("contentType"))
    known = style if style in _STYLES["query"] else "form"
    sent = media.partition(",")[0].strip() if re.fullmatch(r"[\w.+-]+/[\w.+-]+(?:\s*,.*)?", media) else None
    return Encoding(known, explode if isinstance(explode, bool) else known == "form", sent)


def _servers(given: list[Any]) -> tuple[ServerUrl, ...]:
    found: list[ServerUrl] = []
    for one in map(as_object, given[:20]):
        variables = {name: as_object(value) for name, value in as_object(one.get("variables")).items()}
        defaults = {name: str(value.get("default", "")) for name, value in variables.items()}
        values = {
            name: tuple(map(str, as_list(value.get("enum")))) for name, value in variables.items() if value.get("enum")
        }
        found.append(ServerUrl(as_text(one.get("url"))[:500], defaults, values))
    return tuple(found)


def _security(given: object) -> tuple[tuple[str, ...], ...] | None:
    if not isinstance(given, list):
        return None
    return tuple(tuple(as_object(one)) for one in cast("list[Any]", given)[:20])


def _scheme(one: Json) -> Scheme:
    kind, name = as_text(one.get("type")), as_text(one.get("name"))
    if kind == "apiKey" and one.get("in") in ("header", "query", "cookie") and _TOKEN.fullmatch(name):
        return Scheme("key", one["in"], name)
    if kind == "http":
        scheme = as_text(one.get("scheme")).lower()
        return Scheme("bearer") if scheme == "bearer" else Scheme("basic") if scheme == "basic" else Scheme("other")
    if kind == "openIdConnect":
        return Scheme("bearer")
    if kind == "oauth2":
        flows = {name: as_object(flow) for name, flow in as_object(one.get("flows")).items()}
        order = sorted(flows.items(), key=lambda pair: pair[0] != "clientCredentials")
        for _, flow in order:
            if url := as_text(flow.get("tokenUrl")):
                return Scheme("oauth2", token_url=url[:500], scopes=tuple(as_object(flow.get("scopes")))[:100])
        return Scheme("oauth2")
    return Scheme("other")
