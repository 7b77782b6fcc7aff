"""Read the text of a document. Runs as a program: `document_worker.py .pdf|.docx|.odt`, the document on stdin, JSON on
stdout. Uses nothing of Roost, and limits itself before it reads a byte: a document may be made to harm."""

from __future__ import annotations

import io
import json
import re
import sys
import zipfile
from typing import Any
from xml.etree import ElementTree

_MEMORY = 1024 * 1024 * 1024
_SECONDS = 20
_TEXT = 4 * 1024 * 1024
_PAGES = 2000
_PARTS = {".docx": "word/document.xml", ".odt": "content.xml"}
_BREAKS = ("p", "h", "br", "tr", "line-break")


def limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    for kind, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        try:
            resource.setrlimit(kind, (most, most))
        except (ValueError, OSError):  # macOS has no limit of memory
            continue


def pdf(data: bytes) -> dict[str, Any]:
    try:
        from pypdf import PdfReader
    except ImportError:
        return {"missing": "pypdf"}
    pages: list[str] = []
    size = 0
    for page in PdfReader(io.BytesIO(data)).pages[:_PAGES]:
        text = page.extract_text()[: _TEXT - size]
        pages.append(text)
        size += len(text)
        if size >= _TEXT:
            break
    return {"pages": pages}


def office(data: bytes, part: str) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(part) as file:
        body = file.read(8 * _TEXT)
    if re.search(rb"<!(?:DOCTYPE|ENTITY)", body.replace(b"\0", b"")):  # the letters of UTF-16, too
        return {"error": "it declares entities"}
    found: list[str] = []
    for element in ElementTree.fromstring(body).iter():
        tag = str(element.tag).rpartition("}")[2]
        if tag in _BREAKS:
            found.append("\n")
        elif tag == "tab":
            found.append("\t")
        found += [text for text in (element.text if tag != "instrText" else None,) if text]
        if element.tail and element.tail.strip():
            found.append(element.tail)
    return {"pages": ["".join(found)[:_TEXT]]}


def main() -> None:
    limit()
    suffix, data = sys.argv[1], sys.stdin.buffer.read()
    try:
        said = pdf(data) if suffix == ".pdf" else office(data, _PARTS[suffix])
    except Exception as error:  # a broken document is an answer
        said = {"error": type(error).__name__}
    sys.stdout.buffer.write(json.dumps(said).encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
