"""Memory calls of AIOS, as facts of Roost: `remember`, `recall`, `update_memory`, `forget`.

A memory of AIOS keeps its id and has metadata; a fact gets another id with each text, and has none. What is needed
beyond the facts is in the program's own folder, which a run that begins once more finds as it was."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from .runtime_tools import call

_ID = re.compile(r"(?:remembered|known already,) as (\S+?)(?: in place of|,|\.|$| Kept)")
_LINE = re.compile(r'- ("(?:[^"\\]|\\.)*") \[([^,\]]+)')
_NOW = re.compile(r"it is (\S+) now")


def folder() -> str:
    return os.path.join(os.environ["HOME"], ".aios")


def operate(operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a memory response."""
    known = _read()
    if operation in ("add_memory", "add_agentic_memory"):
        return _add(known, str(params["content"]), params.get("metadata") or {})
    if operation in ("retrieve_memory", "retrieve_memory_raw"):
        return _search(known, str(params["content"]), int(params.get("k") or 5))
    id = str(params["memory_id"])
    if id not in known:
        return _told(error=f"there is no memory {id!r}")
    if operation == "get_memory":
        return _told(memory_id=id, content=known[id]["content"], metadata=known[id]["metadata"])
    if operation == "update_memory":
        return _update(known, id, params)
    if operation == "remove_memory":
        text, failed = call("forget", {"id": known[id]["fact"]})
        if not failed:
            del known[id]
            _write(known)
        return _told(error=text if failed else None, memory_id=id)
    return _told(error=f"{operation!r} is not known here")


def _add(known: dict[str, Any], content: str, metadata: dict[str, Any]) -> dict[str, Any]:
    text, failed = call("remember", {"text": content})
    found = _ID.search(text)
    if failed or found is None:
        return _told(error=text)
    known[found[1]] = {"fact": found[1], "content": content, "metadata": metadata}
    _write(known)
    return _told(memory_id=found[1], content=content, metadata=metadata)


def _update(known: dict[str, Any], id: str, params: dict[str, Any]) -> dict[str, Any]:
    one = known[id]
    if (content := params.get("content")) is not None:
        text, failed = call("update_memory", {"id": one["fact"], "text": str(content)})
        if failed:
            return _told(error=text)
        found = _NOW.search(text)
        one["fact"], one["content"] = found[1] if found else one["fact"], str(content)
    if params.get("metadata") is not None:
        one["metadata"] = params["metadata"]
    _write(known)
    return _told(memory_id=id, content=one["content"], metadata=one["metadata"])


def _search(known: dict[str, Any], words: str, most: int) -> dict[str, Any]:
    text, failed = call("recall", {"query": words, "limit": max(1, min(most, 50))})
    if failed:
        return _told(error=text)
    ids: dict[str, str] = {one["fact"]: id for id, one in known.items()}
    found: list[dict[str, Any]] = []
    for at, (quoted, fact) in enumerate(_LINE.findall(text)):
        own = ids.get(str(fact), str(fact))
        about: dict[str, Any] = known.get(own) or {"metadata": {}}
        one = {"memory_id": own, "content": json.loads(quoted), "metadata": about["metadata"]}
        found.append({**one, "score": 1.0 / (at + 1)})
    return _told(search_results=found)


def _told(error: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"success": error is None, "error": error, "status_code": 200 if error is None else 400, **fields}


def _read() -> dict[str, Any]:
    try:
        with open(os.path.join(folder(), "memory.json"), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return {}


def _write(known: dict[str, Any]) -> None:
    path = os.path.join(folder(), "memory.json")
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        json.dump(known, file)
    os.replace(f"{path}.new", path)
