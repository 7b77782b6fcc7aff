"""Compile a document in a process of its own: document on stdin, its catalog or why there is none on stdout, as JSON.

A document is a stranger's: reading it may take any time and memory, and no thread can be stopped."""

from __future__ import annotations

import sys

import msgspec

from roost.features.openapi.catalog import Catalog
from roost.features.openapi.compile import compile_document
from roost.features.openapi.document import DOCUMENT_CAP, BadDocument


class Compiled(msgspec.Struct, omit_defaults=True):
    """What the worker answers. error: why there is no catalog."""

    catalog: Catalog | None = None
    error: str = ""


def compiled(data: bytes) -> Compiled:
    """Compile a document; failures are data."""
    try:
        return Compiled(compile_document(data))
    except BadDocument as error:
        return Compiled(error=error.message)
    except (RecursionError, MemoryError):
        return Compiled(error="it is too large or nested too deeply")


def main() -> None:
    sys.stdout.buffer.write(msgspec.json.encode(compiled(sys.stdin.buffer.read(DOCUMENT_CAP + 1))))


if __name__ == "__main__":
    main()
