"""What a document says, as far as tools need it: the compiled form of a document."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from roost.policy.gate import Safety

Place: TypeAlias = Literal["path", "query", "header", "cookie"]
BodyForm: TypeAlias = Literal["json", "form", "multipart", "text", "binary"]


class Parameter(msgspec.Struct, frozen=True, omit_defaults=True):
    """A parameter of an operation. name: in the request. argument: of the tool. style: as in OpenAPI 3, or `json` for a
    value that is sent as JSON, or `tabs` (Swagger's `tsv`)."""

    name: str
    argument: str
    place: Place
    style: str
    explode: bool = False
    required: bool = False
    reserved: bool = False


class Encoding(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a field of a form is sent. media: its type in a multipart body."""

    style: str = "form"
    explode: bool = True
    media: str | None = None


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of a request: the argument `body`, or `file` for a `binary` one. files: fields of a multipart body that
    name files of the workspace."""

    media: str
    form: BodyForm
    required: bool = False
    encodings: dict[str, Encoding] = {}
    files: tuple[str, ...] = ()


class ServerUrl(msgspec.Struct, frozen=True, omit_defaults=True):
    """A base URL, maybe relative to the document's, with variables. values: the ones allowed for a variable."""

    url: str
    defaults: dict[str, str] = {}
    values: dict[str, tuple[str, ...]] = {}


class Scheme(msgspec.Struct, frozen=True, omit_defaults=True):
    """A security scheme. kind: `other` is one that Roost does not know."""

    kind: Literal["bearer", "key", "basic", "oauth2", "other"]
    place: Literal["header", "query", "cookie"] = "header"
    name: str = "Authorization"
    token_url: str | None = None
    scopes: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """An operation. id: its name in the catalog. about: description for the model. schema: of the tool's arguments.
    renamed: properties of the schema that have another name in the body. security: alternatives, each the schemes that
    are needed together; None: the document does not say. key_header: parameter that takes an idempotency key. saves:
    its result may be a file."""

    id: str
    method: str
    path: str
    about: str
    schema: msgspec.Raw
    safety: Safety
    original: str = ""
    tags: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    body: Body | None = None
    renamed: dict[str, str] = {}
    servers: tuple[ServerUrl, ...] = ()
    security: tuple[tuple[str, ...], ...] | None = None
    key_header: str | None = None
    accept: str = "application/json, */*;q=0.5"
    saves: bool = False
    deprecated: bool = False

    @property
    def place(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"


class NoTool(msgspec.Struct, frozen=True):
    """A part of a document that no tool was made of."""

    what: str
    why: str


class Catalog(msgspec.Struct, frozen=True, omit_defaults=True):
    """A compiled document."""

    title: str
    version: str
    format: str
    operations: tuple[Operation, ...] = ()
    schemes: dict[str, Scheme] = {}
    servers: tuple[ServerUrl, ...] = ()
    no_tools: tuple[NoTool, ...] = ()


def as_schema(operation: Operation) -> dict[str, Any]:
    """Decode the schema of an operation's arguments."""
    return msgspec.json.decode(operation.schema, type=dict[str, Any])
