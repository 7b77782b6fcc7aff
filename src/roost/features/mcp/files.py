"""`mcp.json` as other products write it."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from roost.agent.servers import McpServer
from roost.features.mcp.messages import Json, as_list, as_object
from roost.validated import WrongValue

IN_WORKSPACE = (".mcp.json", "mcp.json", ".vscode/mcp.json", ".cursor/mcp.json")
_BYTES = 256 * 1024
_KINDS = {
    "streamable-http": "http",
    "streamableHttp": "http",
    "streamable_http": "http",
    "local": "stdio",
    "remote": "http",
}
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)\}")
_OWN = ("oauth", "tools", "reads", "trust", "seconds", "start_seconds")


class FileServer(NamedTuple):
    """A server of a file. path: relative to the workspace, or the file itself."""

    server: McpServer
    path: str

    @property
    def digest(self) -> str:
        """Names the file and all that it says of the server: what a person accepts."""
        said = msgspec.json.encode([self.path, self.server])
        return hashlib.blake2b(said, digest_size=16).hexdigest()


def read_file(path: Path, shown: str, *, own: bool) -> tuple[list[FileServer], list[str]]:
    """Read one file. own: it is the home's, which may trust a server. Returns its servers, and what is wrong with it.
    Blocks."""
    try:
        with path.open("rb") as file:
            data = file.read(_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return [], []
    except OSError as error:
        return [], [f"{shown} cannot be read: {error.strerror}"]
    if len(data) > _BYTES:
        return [], [f"{shown} has more than {_BYTES // 1024} KB"]
    try:
        found = as_object(msgspec.json.decode(data))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return [], [f"{shown} is not JSON: {error}"]
    return parse_servers(found, shown, own=own)


def parse_servers(found: Json, shown: str, *, own: bool) -> tuple[list[FileServer], list[str]]:
    """Return the servers of a decoded file, and what is wrong."""
    servers: list[FileServer] = []
    wrong: list[str] = []
    for key in ("mcpServers", "servers"):
        for name, entry in as_object(found.get(key)).items():
            given = as_object(entry)
            if given.get("disabled") is True or given.get("enabled") is False:
                continue
            try:
                servers.append(FileServer(_server(name, given, own=own), shown))
            except WrongValue as error:
                wrong.append(f"{shown}: {error}")
    return servers, wrong


def workspace_servers(folder: Path) -> tuple[list[FileServer], list[str]]:
    """Return the servers that the files of a workspace name; the first of a name counts. Blocks."""
    servers: dict[str, FileServer] = {}
    wrong: list[str] = []
    for shown in IN_WORKSPACE:
        found, problems = read_file(folder / shown, shown, own=False)
        wrong += problems
        for one in found:
            servers.setdefault(one.server.name, one)
    return list(servers.values()), wrong


def _server(name: str, given: Json, *, own: bool) -> McpServer:
    """Return a server of an entry. Raises `WrongValue`."""
    kind = given.get("type", given.get("transport"))
    kind = _KINDS.get(str(kind), kind)
    values: dict[str, Any] = {"name": re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_")[:32]}
    for key in ("command", "args", "env", "cwd", "url", "headers"):
        if key in given:
            values[key] = _secrets(given[key])
    if "serverUrl" in given:
        values["url"] = _secrets(given["serverUrl"])
    if kind in ("http", "sse", "stdio") and not (kind == "stdio" and "url" in values):
        values["transport"] = kind
    values |= {key: given[key] for key in _OWN if key in given and (own or key not in ("trust", "reads", "oauth"))}
    return McpServer(**values)


def _secrets(value: Any) -> Any:
    """Write `${NAME}` as a secret of the vault: a file never reads the environment of the daemon."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: f"{{{{secret:{found[1]}}}}}", value)
    if fields := as_object(value):
        return {key: _secrets(one) for key, one in fields.items()}
    return [_secrets(one) for one in items] if (items := as_list(value)) else value
