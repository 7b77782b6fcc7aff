"""Read a document: JSON or YAML, OpenAPI 3 or Swagger 2, and its local references."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias, cast
from urllib.parse import unquote

import msgspec

from roost.errors import RoostError

Json: TypeAlias = dict[str, Any]

DOCUMENT_CAP = 64 * 1024 * 1024
"""Most bytes of a document. GitHub's has 12 MB."""
YAML_CAP = 24 * 1024 * 1024
"""Most bytes of one in YAML, which takes ten times as long to read."""
_HOPS = 32


class BadDocument(RoostError):
    """A document cannot be read. The message is for the person who named it."""

    code = "bad_openapi"


class Unusable(Exception):
    """A part of a document that no tool can be made of."""


def read_document(data: bytes) -> Json:
    """Return the root of a document. Raises `BadDocument`, which quotes nothing of the content."""
    if len(data) > DOCUMENT_CAP:
        raise BadDocument(f"it has more than {DOCUMENT_CAP // 1024**2} MB")
    root = _json(data.removeprefix(b"\xef\xbb\xbf")) if is_json(data) else _yaml(data)
    if not isinstance(root, dict):
        raise BadDocument("it is not an object")
    found = cast("Json", root)
    version = str(found.get("openapi") or found.get("swagger") or "")
    if not (version.startswith(("3.0", "3.1", "3.2")) or version == "2.0"):
        known = "OpenAPI 3.0, 3.1 and Swagger 2.0 can be read"
        said = f"its version is {version[:20]!r}" if version else "it has neither the field 'openapi' nor 'swagger'"
        raise BadDocument(f"{said}; {known}")
    return found


def is_json(data: bytes) -> bool:
    """Whether a document is read as JSON. All others are YAML, whose parser a hostile document can crash: read it in a
    process of its own."""
    return re.match(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*[{\[]", data) is not None


def _json(data: bytes) -> object:
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise BadDocument("it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadDocument(f"it is not valid JSON: {error}") from None


def _yaml(data: bytes) -> object:
    if len(data) > YAML_CAP:
        raise BadDocument(f"it has more than {YAML_CAP // 1024**2} MB; a larger document must be JSON")
    import yaml

    try:
        return yaml.load(data, Loader=_loader())  # derived from the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" in line {mark.line + 1}" if mark else ""
        raise BadDocument(f"it is not valid YAML{place}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadDocument(f"it is not valid YAML: {type(error).__name__}") from None


def _loader() -> Any:
    """Return a safe loader that reads `on`, `no` and dates as text, as YAML 1.2 and JSON do, and keys as text."""
    import yaml

    base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    class Loader(base):
        yaml_implicit_resolvers = {
            first: [(tag, form) for tag, form in pairs if tag not in _OLD]
            for first, pairs in base.yaml_implicit_resolvers.items()
        }

        def flatten_mapping(self, node: Any) -> None:
            """Refuse merge keys: nested ones grow without bound."""
            if any(key.tag == "tag:yaml.org,2002:merge" for key, _ in node.value):
                raise yaml.constructor.ConstructorError(None, None, "merge keys are not read", node.start_mark)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            found: Any = base.construct_mapping(self, node, deep=deep)
            return {key if isinstance(key, str) else _key(key): value for key, value in found.items()}

    Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF")
    return Loader


_OLD = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")


def _key(key: object) -> str:
    return "true" if key is True else "false" if key is False else "null" if key is None else str(key)


def as_object(value: object) -> Json:
    """Return the value if it is an object, else an empty one."""
    return cast("Json", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return the value if it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Return the value if it is text, else an empty one."""
    return value if isinstance(value, str) else ""


class References:
    """Follow the local references of a document."""

    def __init__(self, root: Json) -> None:
        self._root = root
        self._found: dict[str, Any] = {}

    def at(self, pointer: str) -> Any:
        """Return what a reference points to, which may be a reference again. Raises `Unusable`."""
        if pointer not in self._found:
            self._found[pointer] = self._walk(pointer)
        return self._found[pointer]

    def _walk(self, pointer: str) -> Any:
        if not pointer.startswith("#"):
            raise Unusable(f"it refers to another document, {pointer[:100]!r}: bundle the documents into one")
        found: Any = self._root
        for step in pointer[1:].lstrip("/").split("/"):
            name = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and name in found:
                found = cast("Any", found[name])
            elif isinstance(found, list) and name.isdigit() and int(name) < len(cast("list[Any]", found)):
                found = cast("Any", found[int(name)])
            else:
                raise Unusable(f"it refers to {pointer[:100]!r}, which the document does not have")
        return found

    def whole(self, value: object) -> Json:
        """Return an object, following references. Fields beside a reference win. Raises `Unusable`."""
        found, beside = as_object(value), dict[str, Any]()
        for _ in range(_HOPS):
            pointer = found.get("$ref")
            if not isinstance(pointer, str):
                return {**found, **beside} if beside else found
            beside = {**{name: part for name, part in found.items() if name != "$ref"}, **beside}
            found = as_object(self.at(pointer))
        raise Unusable("its references go round in a circle")
