"""Parameters and bodies in all styles, as a server of the loopback receives them."""

from __future__ import annotations

from email.parser import BytesParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from roost.agent.openapi_options import OpenApi
from roost.features.openapi.calling import Caller
from roost.features.openapi.catalog import Catalog, Operation
from roost.features.openapi.compile import compile_document
from roost.features.openapi.credentials import Signer, Tokens
from roost.features.openapi.request_building import UploadFile, build_request
from roost.tools.errors import ToolError

from .api_server import Api, document, serving

BLUE = "blue"
MANY = ["blue", "black", "brown"]
RGB = {"R": 100, "G": 200, "B": 150}


def operation_of(place: str, style: str | None, explode: bool | None, **more: Any) -> Operation:
    parameter: dict[str, Any] = {"name": "color", "in": place, "required": place == "path", "schema": {}, **more}
    parameter |= {} if style is None else {"style": style}
    parameter |= {} if explode is None else {"explode": explode}
    path = "/p/{color}" if place == "path" else "/p"
    return compiled({path: {"get": {"operationId": "op", "parameters": [parameter]}}}).operations[0]


def compiled(paths: dict[str, Any], **more: Any) -> Catalog:
    catalog = compile_document(document(paths, **more))
    assert not catalog.no_tools, catalog.no_tools
    return catalog


def no_file(path: str) -> UploadFile:
    raise ToolError(f"there is no {path}")


async def send(api: Api, operation: Operation, arguments: dict[str, Any]) -> dict[str, Any]:
    option = OpenApi(name="a", spec="x", private=[api.host])
    tokens = Tokens()
    caller = Caller(option, Signer(option, None, tokens), tokens, api.url)
    await caller.call(build_request(operation, arguments, no_file), (), repeatable=False)
    return api.asked[-1]


# The table of RFC 6570 forms in the specification, section "Style Examples".
QUERY = [
    ("form", False, BLUE, "color=blue"),
    ("form", False, MANY, "color=blue,black,brown"),
    ("form", False, RGB, "color=R,100,G,200,B,150"),
    ("form", True, BLUE, "color=blue"),
    ("form", True, MANY, "color=blue&color=black&color=brown"),
    ("form", True, RGB, "R=100&G=200&B=150"),
    (None, None, MANY, "color=blue&color=black&color=brown"),
    ("spaceDelimited", False, MANY, "color=blue%20black%20brown"),
    ("spaceDelimited", False, RGB, "color=R%20100%20G%20200%20B%20150"),
    ("pipeDelimited", False, MANY, "color=blue%7Cblack%7Cbrown"),
    ("pipeDelimited", False, RGB, "color=R%7C100%7CG%7C200%7CB%7C150"),
    ("deepObject", True, RGB, "color[R]=100&color[G]=200&color[B]=150"),
    ("deepObject", True, {"a": {"b": [1, True]}}, "color[a][b][0]=1&color[a][b][1]=true"),
    ("form", True, "a b&c=d/é#", "color=a%20b%26c%3Dd%2F%C3%A9%23"),
]
PATH = [
    ("simple", False, BLUE, "blue"),
    ("simple", False, MANY, "blue,black,brown"),
    ("simple", False, RGB, "R,100,G,200,B,150"),
    ("simple", True, RGB, "R=100,G=200,B=150"),
    (None, None, MANY, "blue,black,brown"),
    ("label", False, BLUE, ".blue"),
    ("label", False, MANY, ".blue,black,brown"),
    ("label", True, MANY, ".blue.black.brown"),
    ("label", True, RGB, ".R=100.G=200.B=150"),
    ("matrix", False, BLUE, ";color=blue"),
    ("matrix", False, MANY, ";color=blue,black,brown"),
    ("matrix", True, MANY, ";color=blue;color=black;color=brown"),
    ("matrix", False, RGB, ";color=R,100,G,200,B,150"),
    ("matrix", True, RGB, ";R=100;G=200;B=150"),
    ("simple", False, "../../admin?x=1#y", "..%2F..%2Fadmin%3Fx%3D1%23y"),
    ("label", True, ["a.b", "c,d"], ".a.b.c%2Cd"),
]
HEADER = [
    ("simple", False, BLUE, "blue"),
    ("simple", False, MANY, "blue,black,brown"),
    ("simple", False, RGB, "R,100,G,200,B,150"),
    ("simple", True, RGB, "R=100,G=200,B=150"),
]
COOKIE = [
    ("form", False, BLUE, "color=blue"),
    ("form", False, MANY, "color=blue,black,brown"),
    (None, True, BLUE, "color=blue"),
    (None, True, "a;b=c", "color=a%3Bb%3Dc"),
]


async def test_every_style_arrives_as_the_specification_says() -> None:
    async with serving() as api:
        for style, explode, value, sent in QUERY:
            arrived = await send(api, operation_of("query", style, explode), {"color": value})
            assert arrived["query"] == sent, (style, explode)
        for style, explode, value, sent in PATH:
            arrived = await send(api, operation_of("path", style, explode), {"color": value})
            assert arrived["path"] == f"/p/{sent}", (style, explode)
        for style, explode, value, sent in HEADER:
            arrived = await send(api, operation_of("header", style, explode), {"color": value})
            assert arrived["headers"]["color"] == sent, (style, explode)
        for style, explode, value, sent in COOKIE:
            arrived = await send(api, operation_of("cookie", style, explode), {"color": value})
            assert arrived["headers"]["cookie"] == sent, (style, explode)


async def test_reserved_characters_stay_where_the_document_says() -> None:
    async with serving() as api:
        operation = operation_of("query", "form", True, allowReserved=True)
        arrived = await send(api, operation, {"color": "a/b?c:d&e=f"})
        assert arrived["query"] == "color=a/b?c:d%26e%3Df"


async def test_a_parameter_with_content_is_json() -> None:
    parameter = {"name": "filter", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}}
    operation = compiled({"/p": {"get": {"parameters": [parameter]}}}).operations[0]
    async with serving() as api:
        arrived = await send(api, operation, {"filter": {"a": [1]}})
        assert arrived["query"] == "filter=%7B%22a%22%3A%5B1%5D%7D"


@pytest.mark.parametrize("value", ["", ".", "..", [], None])
def test_a_value_cannot_lead_to_another_path(value: Any) -> None:
    with pytest.raises(ToolError):
        build_request(operation_of("path", None, None), {"color": value}, no_file)


@pytest.mark.parametrize("value", ["a\r\nHost: b", "a\nb", "\0", "é"])
def test_a_value_cannot_end_a_header(value: str) -> None:
    with pytest.raises(ToolError, match="printable ASCII"):
        build_request(operation_of("header", None, None), {"color": value}, no_file)


def body_of(media: str, schema: dict[str, Any], **more: Any) -> Operation:
    content = {media: {"schema": schema, **more}}
    return compiled({"/p": {"post": {"requestBody": {"required": True, "content": content}}}}).operations[0]


async def test_bodies_arrive() -> None:
    fields = {"type": "object", "properties": {"a": {"type": "string"}, "@odd name!": {"type": "integer"}}}
    async with serving() as api:
        arrived = await send(api, body_of("application/json", fields), {"body": {"a": "é", "odd_name": 3}})
        assert arrived["headers"]["content-type"] == "application/json"
        assert msgspec.json.decode(api.body()) == {"a": "é", "@odd name!": 3}
        form = "application/x-www-form-urlencoded"
        await send(api, body_of(form, {"type": "object"}), {"body": {"a": "b c", "n": 1.0, "ok": True, "no": None}})
        assert api.body() == b"a=b%20c&n=1&ok=true"
        deep = {"metadata": {"style": "deepObject", "explode": True}, "expand": {"style": "form", "explode": False}}
        given = {"metadata": {"k": "v"}, "expand": ["x", "y"], "items": [{"price": "p"}]}
        await send(api, body_of(form, {"type": "object"}, encoding=deep), {"body": given})
        assert api.body() == b"metadata[k]=v&expand=x%2Cy&items[0][price]=p".replace(b"%2C", b",")
        arrived = await send(api, body_of("text/csv", {"type": "string"}), {"body": "a,b\r\n"})
        assert (api.body(), arrived["headers"]["content-type"]) == (b"a,b\r\n", "text/csv")


def test_files_of_the_workspace_are_sent(tmp_path: Path) -> None:
    (tmp_path / 'p"1.bin').write_bytes(b"\x00\xff")

    def read(path: str) -> UploadFile:
        return UploadFile(path, (tmp_path / path).read_bytes())

    binary = body_of("application/octet-stream", {"type": "string", "format": "binary"})
    assert build_request(binary, {"file": 'p"1.bin'}, read).body == b"\x00\xff"
    fields = {
        "type": "object",
        "properties": {
            "about": {"type": "object"},
            "many": {"type": "array"},
            "file": {"type": "string", "format": "binary"},
        },
    }
    operation = body_of("multipart/form-data", fields, encoding={"file": {"contentType": "image/png, image/gif"}})
    given = {"body": {"about": {"a": 1}, "many": ["x", "y"], "file": 'p"1.bin'}}
    sent = build_request(operation, given, read)
    head = f"Content-Type: {sent.headers['Content-Type']}\r\n\r\n".encode()
    parts = BytesParser().parsebytes(head + (sent.body or b"")).get_payload()
    assert isinstance(parts, list)
    shown = [
        (part.get_param("name", header="content-disposition"), part.get_content_type(), part.get_payload(decode=True))
        for part in parts
        if not isinstance(part, str)
    ]
    assert shown == [
        ("about", "application/json", b'{"a":1}'),
        ("many", "text/plain", b"x"),
        ("many", "text/plain", b"y"),
        ("file", "image/png", b"\x00\xff"),
    ]
    assert 'filename="p%221.bin"' in (sent.body or b"").decode("latin-1")


async def test_swaggers_collections_arrive() -> None:
    def one(form: str, place: str = "query") -> dict[str, Any]:
        return {"name": "v", "in": place, "type": "array", "items": {"type": "string"}, "collectionFormat": form}

    sent = {"csv": "v=a,b", "ssv": "v=a%20b", "tsv": "v=a%09b", "pipes": "v=a%7Cb", "multi": "v=a&v=b"}
    async with serving() as api:
        for form, query in sent.items():
            swagger = {"swagger": "2.0", "host": "h", "paths": {"/p": {"get": {"parameters": [one(form)]}}}}
            operation = compile_document(msgspec.json.encode(swagger)).operations[0]
            assert (await send(api, operation, {"v": ["a", "b"]}))["query"] == query
        upload = [{"name": "f", "in": "formData", "type": "file"}, {"name": "n", "in": "formData", "type": "integer"}]
        swagger = {"swagger": "2.0", "paths": {"/p": {"post": {"parameters": upload}}}}
        body = compile_document(msgspec.json.encode(swagger)).operations[0].body
        assert body is not None
        assert (body.form, body.files) == ("multipart", ("f",))
