"""Where a session works, as clients of the Agents API give it and see it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

import msgspec

from roost.errors import Invalid

Kind: TypeAlias = Literal["none", "openai_hosted", "self_hosted"]
"""Where an agent works."""
ROOT = "/workspace"
"""What clients call the root of a workspace."""
_RESERVED = re.compile(r"\.codex|\.managed-agents(-.*)?")
_PATH = 1024
_HOSTED = {
    "type", "capability_directories", "container_size", "desktop", "env", "environment_id", "environment_template_id",
    "files", "name", "network", "packages", "plugins", "setup_commands", "skills",
}  # fmt: skip
_NEVER = {
    "capability_directories": "agents here read skills where their definitions say",
    "env": "commands get no environment variables of a request; write a file, or set them for the daemon",
    "plugins": "there are no plugins",
    "setup_commands": "no commands run before a session; let the agent run them, or prepare the machine",
    "skills": "skills are installed by the operator of this home, and not sent with a session",
}


class PlacedFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of an environment. file: its id here. upload: the uploaded file. inline: its content came with the
    request, and the upload belongs to the environment alone."""

    file: str
    upload: str
    path: str
    size: int
    inline: bool = False

    def shown(self, *, template: bool = False) -> dict[str, Any]:
        own: dict[str, Any] = {} if template else {"id": self.file}
        if self.inline:
            return {"type": "inline", **own, "path": self.path, "size_bytes": self.size}
        size: dict[str, Any] = {} if template else {"size_bytes": self.size}
        return {"type": "file_id", **own, "file_id": self.upload, "path": self.path, **size}


class FileGiven(msgspec.Struct, frozen=True):
    """A file in a request. Either `upload`, the id of an uploaded file, or `data`, base64."""

    path: str
    upload: str | None = None
    data: str | None = None


class Network(msgspec.Struct, frozen=True, omit_defaults=True):
    """access: restricted means that only `hosts` can be reached."""

    access: Literal["enabled", "disabled", "restricted"]
    hosts: tuple[str, ...] = ()

    @property
    def allowed(self) -> tuple[str, ...]:
        """Globs of the hosts that commands may reach."""
        return {"enabled": ("*",), "disabled": (), "restricted": self.hosts}[self.access]


class Hosted(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a client wants of an environment that we make. None: as the agent's definition says."""

    files: tuple[PlacedFile, ...] = ()
    network: Network | None = None
    size: Literal["small", "medium", "large"] | None = None


class Setup(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The environment of a session. id: empty for none. folder: of a self-hosted one."""

    kind: Kind
    id: str = ""
    folder: str | None = None
    hosted: Hosted = Hosted()

    def shown(self, url: str, network: Network) -> dict[str, Any]:
        """Return the resource. url: of this daemon. network: the one that holds."""
        if self.kind == "none":
            return {"type": "none"}
        if self.kind == "self_hosted":
            return {
                "type": "self_hosted",
                "id": self.id,
                "capability_directories": [],
                "remote_url": url,
                "workspace_directory": self.folder,
            }
        size: dict[str, Any] = {} if self.hosted.size is None else {"container_size": self.hosted.size}
        hosted = msgspec.structs.replace(self.hosted, network=network)
        return {"type": "openai_hosted", "id": self.id, **parts_of(hosted), **size}


def parts_of(hosted: Hosted, *, template: bool = False) -> dict[str, Any]:
    """Return what environments and templates show alike."""
    network = hosted.network or Network("disabled")
    return {
        "capability_directories": [],
        "files": [one.shown(template=template) for one in hosted.files],
        "network": {"access": network.access, "allowed_domains": list(network.hosts)},
        "packages": {"npm": [], "python": [], "system": []},
        "plugins": [],
        "skills": [],
        "desktop": {"enabled": False},
    }


def network_of(given: Any, where: str) -> Network | None:
    """Return the network of a request. Raises `Invalid`."""
    if given is None:
        return None
    try:
        found = msgspec.convert(given, _Network)
    except msgspec.ValidationError as error:
        raise Invalid(f"{where}: {error}") from None
    if found.blocked_domains:
        raise Invalid(f"{where}.blocked_domains: say which domains are allowed instead", code="unsupported")
    hosts = tuple(found.allowed_domains or ())
    if hosts and found.access != "restricted":
        raise Invalid(f"{where}.allowed_domains: only with access `restricted`")
    if any(not 1 <= len(host) <= 253 or not re.fullmatch(r"[A-Za-z0-9.*_-]+", host) for host in hosts):
        raise Invalid(f"{where}.allowed_domains: names of hosts, without scheme, port and path")
    return Network(found.access, hosts)


class _Network(msgspec.Struct, forbid_unknown_fields=True):
    access: Literal["enabled", "disabled", "restricted"]
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None


def check_hosted(given: dict[str, Any], where: str) -> None:
    """Refuse what this home cannot give, with the reason. Raises `Invalid`."""
    for name, value in given.items():
        if name not in _HOSTED:
            raise Invalid(f"{where}.{name[:100]}: there is no such field")
        if name in _NEVER and value:
            raise Invalid(f"{where}.{name}: {_NEVER[name]}", code="unsupported")
    for name, what in (("packages", "nothing is installed for a session"), ("desktop", "there is no desktop")):
        value = given.get(name)
        if isinstance(value, dict) and any(cast("dict[str, Any]", value).values()):
            raise Invalid(f"{where}.{name}: {what}; prepare the image of the sandbox instead", code="unsupported")
    if given.get("container_size") not in (None, "small", "medium", "large"):
        raise Invalid(f"{where}.container_size: small, medium or large")


def files_given(given: Any, where: str) -> tuple[FileGiven, ...]:
    """Return the files of a request, each with a path relative to the workspace. Raises `Invalid`."""
    if not isinstance(given, list | None):
        raise Invalid(f"{where}: a list of files")
    found = [_file(one, f"{where}[{at}]") for at, one in enumerate(cast("list[Any]", given or []))]
    if len(found) > 100:
        raise Invalid(f"{where}: at most 100 files at once")
    paths = [one.path for one in found]
    if any(a == b or b.startswith(f"{a}/") for i, a in enumerate(paths) for j, b in enumerate(paths) if i != j):
        raise Invalid(f"{where}: two files have the same place")
    return tuple(found)


def _file(given: Any, where: str) -> FileGiven:
    if not isinstance(given, dict):
        raise Invalid(f"{where}: a file is an object")
    one = cast("dict[str, Any]", given)
    path = check_path(one.get("path"), f"{where}.path")
    kind, id, data = one.get("type"), one.get("file_id"), one.get("data")
    if kind == "file_id" and isinstance(id, str) and 1 <= len(id) <= 128:
        return FileGiven(path, upload=id)
    if kind == "inline" and isinstance(data, str):
        return FileGiven(path, data=data)
    raise Invalid(f"{where}: a file has the type file_id with a file_id, or inline with data")


def check_path(path: Any, where: str) -> str:
    """Check the place of a file in an environment. Raises `Invalid`."""
    parts = path.split("/")[1:] if isinstance(path, str) else []
    wrong = not isinstance(path, str) or not path.startswith(f"{ROOT}/") or "\0" in path or "\\" in path
    if wrong or len(path) > _PATH or any(part in ("", ".", "..") for part in parts):
        raise Invalid(f"{where}: an absolute path of a file below {ROOT}, without empty or dotted parts")
    if _RESERVED.fullmatch(parts[1]) or path == f"{ROOT}/outputs":
        raise Invalid(f"{where}: {path!r} is reserved")
    return path


def relative(path: str) -> str:
    """Return a path of a client as one relative to the workspace."""
    return path.removeprefix(f"{ROOT}/")


def merged_files(base: Sequence[PlacedFile], more: Sequence[PlacedFile]) -> tuple[PlacedFile, ...]:
    """Return files, those of the same path from `more`."""
    paths = {one.path for one in more}
    return (*(one for one in base if one.path not in paths), *more)
