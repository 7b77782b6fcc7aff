"""Storage calls of AIOS, as files of the workspace: `write_file`, `read_file`, `grep` of Roost. The versions that an
agent has written, for `rollback`, are in the program's own folder."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from typing import Any

from .aios_memory import folder
from .runtime_tools import call

_VERSIONS = 20
_WORD = re.compile(r"\w{2,}")
_OURS = ".roost-agent/"
_FOUND = re.compile(r"(.+?):\d+: ")


def operate(operation: str, params: dict[str, Any]) -> tuple[Any, str | None, int]:
    """Return the message, the error if there is one, and its status."""
    if operation == "mount":
        return "the workspace of the session is mounted", None, 200
    if operation == "create_file":
        return _written(str(params["file_path"]), "", only_new=True)
    if operation == "create_dir":
        path = os.path.join(str(params["dir_path"]), ".keep")
        return _written(path, "", only_new=True)
    if operation == "write":
        return _written(str(params["file_path"]), str(params["content"]))
    if operation == "rollback":
        return _rolled_back(str(params["file_path"]), int(params.get("n") or 1))
    if operation == "retrieve":
        return _retrieved(params)
    if operation == "share":
        return None, "files are not shared by links here: GET /sessions/SESSION/file reads one", 501
    return None, f"{operation!r} is not known here", 400


def _path(path: str) -> str:
    """Return a path inside the workspace: agents give absolute ones, below what they have mounted."""
    return path.lstrip("/") or "."


def _written(path: str, content: str, *, only_new: bool = False) -> tuple[Any, str | None, int]:
    path = _path(path)
    # A file is replaced by one who has read it. Whether there is one is asked by a call, too, not at the disk: a run
    # that begins once more finds what it has written itself.
    _, missing = call("read_file", {"path": path})
    if only_new and not missing:
        return f"{path} is there already", None, 200
    text, failed = call("write_file", {"path": path, "content": content})
    if failed:
        return None, text, 403
    _keep(path, content)
    return text, None, 200


def _rolled_back(path: str, steps: int) -> tuple[Any, str | None, int]:
    path = _path(path)
    versions = _versions(path)
    if steps < 1 or steps >= len(versions):
        return None, f"{path} has {max(0, len(versions) - 1)} earlier versions that this agent wrote", 404
    call("read_file", {"path": path})
    text, failed = call("write_file", {"path": path, "content": versions[-1 - steps]})
    if failed:
        return None, text, 403
    _store(path, versions[:-steps])
    return f"{path} is as it was {steps} versions before", None, 200


def _retrieved(params: dict[str, Any]) -> tuple[Any, str | None, int]:
    """Find files by their words, those with the most matches first."""
    words = [*_WORD.findall(str(params.get("query_text") or "")), *(params.get("keywords") or ())]
    if not words:
        return [], None, 200
    pattern = "|".join(re.escape(str(one)) for one in words)[:1000]
    text, failed = call("grep", {"pattern": pattern, "ignore_case": True})
    if failed:
        return None, text, 403
    paths = [match[1] for line in text.splitlines() if (match := _FOUND.match(line))]
    found = Counter(path for path in paths if not path.startswith(_OURS))
    most = int(params.get("n") or 5)
    return [{"file_path": path, "matches": count} for path, count in found.most_common(most)], None, 200


def _at(path: str) -> str:
    return os.path.join(folder(), f"versions-{hashlib.blake2b(path.encode(), digest_size=12).hexdigest()}.json")


def _versions(path: str) -> list[str]:
    try:
        with open(_at(path), encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return []


def _keep(path: str, content: str) -> None:
    _store(path, [*_versions(path), content][-_VERSIONS:])


def _store(path: str, versions: list[str]) -> None:
    at = _at(path)
    with open(f"{at}.new", "w", encoding="utf-8") as file:
        json.dump(versions, file)
    os.replace(f"{at}.new", at)
