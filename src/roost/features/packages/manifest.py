"""What a package has and wants: its manifest `roost-package.toml`, and what follows from its files."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Annotated

import msgspec

from roost.agent.agent_files import check_found, load_agent_file
from roost.agent.definition import AgentSpec
from roost.errors import ConfigError
from roost.features.packages.agent_files import is_agent_file
from roost.features.packages.archive import Files, PackageFile, PackageRefused
from roost.features.packages.ports import ToolEntry
from roost.features.packages.skill_format import FrontMatterError, read
from roost.features.packages.skill_validation import check_name
from roost.features.packages.versions import check_range, check_version

MANIFEST = "roost-package.toml"
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_SCHEMA = 16 * 1024
_MOST = 64 * 1024
"""Most bytes of a manifest."""
_SCRIPTS = (".sh", ".bash", ".py", ".js", ".mjs", ".cjs", ".ts", ".rb", ".pl", ".ps1", ".bat", ".cmd", ".exe")


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Permissions that the manifest names. network: hosts. secrets: names. commands: programs that its scripts call."""

    network: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """dependencies: ranges of versions by the names of packages. tools: commands that agents may call."""

    name: str
    version: str
    description: str = ""
    license: str = ""
    homepage: str = ""
    permissions: Wanted = Wanted()
    dependencies: Mapping[str, str] = {}
    tools: Annotated[tuple[ToolEntry, ...], msgspec.Meta(max_length=64)] = ()


class Package(msgspec.Struct, frozen=True):
    """A checked package. permissions: what it wants, each a line such as `network: api.example.com`. skills, agents:
    their names. files: with a manifest in any case."""

    manifest: Manifest
    skills: tuple[str, ...]
    agents: tuple[str, ...]
    permissions: tuple[str, ...]
    files: Files


def read_package(files: Files, *, name: str = "") -> Package:
    """Check the files of a package. A skill alone, or a folder of skills, is a package too and gets a manifest. name:
    of a folder of skills. Blocks. Raises `PackageRefused`."""
    files = files if MANIFEST in files else _with_manifest(files, name)
    manifest = _manifest(files[MANIFEST])
    skills, agents = _skills(files), _agents(files)
    if not skills and not agents and not manifest.tools:
        raise PackageRefused("the package has neither skills/NAME/SKILL.md nor agents/NAME.md, and no tools")
    _check_tools(manifest, files)
    return Package(
        manifest,
        tuple(sorted(skills)),
        tuple(sorted(agents)),
        tuple(
            sorted(
                {
                    *_declared(manifest.permissions),
                    *_derived(files, skills, agents),
                    *(one.permission for one in manifest.tools),
                }
            )
        ),
        files,
    )


def check_package_name(name: str) -> str:
    """Return the name. Raises `PackageRefused` unless it is of `a-z`, `0-9` and single hyphens, 64 at most."""
    if not _NAME.fullmatch(name) or len(name) > 64:
        raise PackageRefused(f"{name[:100]!r} cannot name a package: use a-z, 0-9 and single hyphens (at most 64)")
    return name


def _manifest(file: PackageFile) -> Manifest:
    if len(file.data) > _MOST:
        raise PackageRefused(f"{MANIFEST} has more than {_MOST} bytes")
    try:
        data = tomllib.loads(file.data.decode())
        manifest = msgspec.convert(data, Manifest)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise PackageRefused(f"{MANIFEST}: {error}") from None
    check_package_name(manifest.name)
    check_version(manifest.version)
    for name, wanted in manifest.dependencies.items():
        check_package_name(name)
        check_range(wanted)
    texts = (manifest.description, manifest.license, manifest.homepage, *_declared(manifest.permissions))
    if any(not text.isprintable() or len(text) > 1024 for text in texts):
        raise PackageRefused(f"{MANIFEST}: texts are of one printable line, 1024 characters at most")
    return manifest


def _check_tools(manifest: Manifest, files: Files) -> None:
    """Raise `PackageRefused` unless models can use the tools, and people read what they run."""
    names = [one.name for one in manifest.tools]
    if len({*names}) < len(names):
        raise PackageRefused(f"{MANIFEST}: two tools have one name")
    for one in manifest.tools:
        where = f"{MANIFEST}: tool {one.name!r}"
        if len(f"{manifest.name}-{one.name}") > 64:
            raise PackageRefused(f"{where}: with the package's name it has more than 64 characters")
        if not one.permission.isprintable() or len(one.permission) > 1024:
            raise PackageRefused(f"{where}: its command is of printable characters, 1024 at most")
        if not " ".join(one.description.split()).isprintable():
            raise PackageRefused(f"{where}: its description has characters that cannot be seen")
        missing = [part for part in one.command if part.startswith("tools/") and part not in files]
        if missing:
            raise PackageRefused(f"{where}: the package has no file {missing[0]!r}")
        schema = one.schema
        if schema and (schema.get("type") != "object" or len(msgspec.json.encode(schema)) > _SCHEMA):
            raise PackageRefused(f"{where}: its schema is one of type object, of {_SCHEMA} bytes at most")


def _declared(wanted: Wanted) -> list[str]:
    named = {"network": wanted.network, "secret": wanted.secrets, "command": wanted.commands}
    return [f"{kind}: {one}" for kind, given in named.items() for one in given]


def _with_manifest(files: Files, name: str) -> Files:
    """Return the files of a skill, or of a folder of skills, as a package. Raises `PackageRefused`."""
    version, about = "0.0.0", ""
    if "SKILL.md" in files:
        fields = _fields("SKILL.md", files["SKILL.md"])
        name, about = str(fields.get("name", name)), str(fields.get("description", ""))
        version = _texts(fields.get("metadata")).get("version", version)
        files = {f"skills/{name}/{path}": one for path, one in files.items()}
    else:
        files = _found_skills(files)
    check_package_name(name)
    try:
        check_version(version)
    except PackageRefused:
        version = "0.0.0"
    lines = {"name": name, "version": version, "description": " ".join(about.split())[:1024]}
    text = "".join(f"{key} = {_toml(value)}\n" for key, value in lines.items())
    return {**files, MANIFEST: PackageFile(text.encode())}


def _found_skills(files: Files) -> Files:
    """Return the skills of a repository that has them in some folder, under `skills/`, and its agents."""
    found: dict[str, PackageFile] = {path: one for path, one in files.items() if path.startswith("agents/")}
    roots = sorted(path.removesuffix("/SKILL.md") for path in files if path.endswith("/SKILL.md"))
    for root in roots:
        skill = root.rsplit("/", 1)[-1]
        inside = {path: one for path, one in files.items() if path.startswith(f"{root}/")}
        if any(other != root and root.startswith(f"{other}/") for other in roots):
            continue  # a part of that one
        placed = {f"skills/{skill}/{path[len(root) + 1 :]}": one for path, one in inside.items()}
        if placed.keys() & found.keys():
            raise PackageRefused(f"two skills have the name {skill!r}")
        found |= placed
    return found


def _skills(files: Files) -> dict[str, str]:
    """Return what each skill says of the tools that it wants, by name. Raises `PackageRefused`."""
    found: dict[str, str] = {}
    for path, one in files.items():
        parts = PurePosixPath(path).parts
        if len(parts) == 3 and parts[0] == "skills" and parts[2] == "SKILL.md":
            fields = _fields(path, one)
            if wrong := check_name(fields.get("name"), parts[1]):
                raise PackageRefused(f"{path}: {wrong[0]}")
            if not str(fields.get("description", "")).strip():
                raise PackageRefused(f"{path}: it has no description")
            allowed = fields.get("allowed-tools", "")
            found[parts[1]] = str(allowed)
    return found


def _agents(files: Files) -> dict[str, Sequence[str]]:
    """Return what each agent wants, by name. It may have what one of a stranger's folder may. Raises
    `PackageRefused`."""
    found: dict[str, Sequence[str]] = {}
    for path, one in files.items():
        parts = PurePosixPath(path).parts
        if len(parts) != 2 or parts[0] != "agents" or not is_agent_file(parts[1]):
            continue
        with TemporaryDirectory() as folder:
            at = Path(folder, parts[1])
            at.write_bytes(one.data)
            try:
                (loaded,) = load_agent_file(at)
                check_found(loaded)
            except ConfigError as error:
                raise PackageRefused(f"{path}: {error.message.replace(f'{folder}/', '')}") from None
        if loaded.agent.name in found:
            raise PackageRefused(f"{path}: another file defines {loaded.agent.name!r}, too")
        lines = (line.replace(f"{Path(folder).resolve()}/", "agents/") for line in _wanted_by(loaded.agent))
        found[loaded.agent.name] = ["".join(char if char.isprintable() else "?" for char in line) for line in lines]
    return found


def _wanted_by(spec: AgentSpec) -> Iterator[str]:
    yield f"agent permissions: {spec.permissions}"
    yield from (f"agent tool: {tool}" for tool in spec.tools)
    for api in spec.openapi:
        yield f"agent api: {api.name} by {api.spec}" + (f" at {api.server}" if api.server else "")
    yield from (f"remote agent: {remote.name} at {remote.url}" for remote in spec.remote_agents)


def _derived(files: Files, skills: Mapping[str, str], agents: Mapping[str, Sequence[str]]) -> set[str]:
    """Return what follows from the files, whatever the manifest says."""
    wanted = {line for lines in agents.values() for line in lines}
    wanted |= {f"skill tools: {' '.join(given.split())[:200]}" for given in skills.values() if given.strip()}
    if any(one.run or path.endswith(_SCRIPTS) or one.data.startswith(b"#!") for path, one in files.items()):
        wanted.add("scripts: run in the sandbox when a model starts them")
    return wanted


def _fields(path: str, file: PackageFile) -> dict[str, object]:
    try:
        return read(file.data.decode()).fields
    except FrontMatterError as error:
        raise PackageRefused(f"{path}: {error.message}") from None
    except UnicodeDecodeError:
        raise PackageRefused(f"{path}: it is not UTF-8 text") from None


def _texts(given: object) -> dict[str, str]:
    try:
        return msgspec.convert(given, dict[str, str])
    except msgspec.ValidationError:
        return {}


def _toml(text: str) -> str:
    """Return a TOML string. JSON's escapes are TOML's, too."""
    return msgspec.json.encode("".join(char if char.isprintable() else " " for char in text)).decode()
