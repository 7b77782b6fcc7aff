"""Agents defined in files: TOML, Markdown with front matter, and Python modules that hold `Agent` objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from roost.agent.default_agent import DEFAULT_AGENT
from roost.agent.definition import Agent, AgentSpec, Limits
from roost.agent.openapi_options import OpenApi
from roost.errors import ConfigError
from roost.models.http import is_loopback
from roost.sandbox.backend import Bounds
from roost.validated import WrongValue, choices, did_you_mean, explained
from roost.yaml_check import check_yaml

_MAX_BYTES = 1024 * 1024
_MAX_YAML = 64 * 1024
"""Most characters of a front matter in YAML; the instructions below it may be longer."""
PACKAGED = "packages/agents"
"""Folder of the home with the agents of accepted packages. They have what one of a stranger's folder may have."""
_SUFFIXES = (".toml", ".md", ".py")
_FENCES = {"---": "YAML", "+++": "TOML"}


class AgentFile(NamedTuple):
    """An agent and the file that defines it."""

    agent: Agent
    path: Path


def search_path(home: Path, *, cwd: Path, extra: Sequence[Path] = ()) -> list[Path]:
    """Return the places of agent files in order of precedence: `extra` (files or folders, which must exist), the
    working directory's `agents` and `.roost/agents`, the home's `agents`, those of packages. Raises `ConfigError`."""
    for path in extra:
        if not path.exists():
            raise ConfigError(f"there is no agent file or folder {str(path)!r}")
    folders = [*extra, *present(cwd, home), home / "agents", home / PACKAGED]
    unique = {folder.resolve(): folder for folder in reversed(folders) if folder.exists()}
    return list(reversed(unique.values()))


def load_agents(folders: Sequence[Path]) -> list[Agent]:
    """Load the agents of these folders and files, sorted by name. Raises `ConfigError`, which names the file, the line
    and the fix. Runs Python files."""
    return [found.agent for found in load_agent_files(folders)]


def present(cwd: Path, home: Path) -> list[Path]:
    """Return the agent folders of a working directory. They may come from a stranger, as in a fresh clone. The home's
    own folder is never among them."""
    own = (home / "agents").resolve()
    return [place for place in (cwd / "agents", cwd / ".roost" / "agents") if place.resolve() != own]


def load_agent_files(folders: Sequence[Path], *, found: Sequence[Path] = ()) -> list[AgentFile]:
    """Load agents with their files. If folders define the same name, the earlier one wins; two definitions in one
    folder are an error. found: folders that the user did not name; their Python files do not run, and they cannot
    replace the built-in agent."""
    chosen: dict[str, AgentFile] = {}
    come_upon = {folder.resolve() for folder in found}
    for folder in folders:
        here: dict[str, AgentFile] = {}
        for found_here in _load_place(folder, code=folder.resolve() not in come_upon):
            if folder.resolve() in come_upon:
                check_found(found_here)
            twin = here.get(found_here.agent.name)
            if twin is not None:
                raise ConfigError(
                    f"{_shown(found_here.path)} and {_shown(twin.path)} both define"
                    f" {found_here.agent.name!r}: rename one"
                )
            here[found_here.agent.name] = found_here
        chosen = {**here, **chosen}
    return [chosen[name] for name in sorted(chosen)]


def load_agent_file(path: Path) -> list[AgentFile]:
    """Load one file: one agent, or any number from a Python file. Raises `ConfigError`."""
    match path.suffix:
        case ".toml":
            text = _read(path)
            return [_build(path, _toml(path, text, 0), text, {})]
        case ".md":
            text = _read(path)
            found = _markdown(path, text)
            if found is None:
                raise ConfigError(
                    f"{_shown(path)}: no front matter. Begin the file with a line '---', the fields, and another '---';"
                    " the text below is the agent's instructions"
                )
            return [found]
        case ".py":
            return _python(path)
        case _:
            raise ConfigError(f"{_shown(path)}: an agent file ends in {', '.join(_SUFFIXES)}")


def check_found(found: AgentFile) -> None:
    """Reject settings that a file from an untrusted folder must not have. Raises `ConfigError`."""
    spec, what = found.agent, ""
    if spec.name == DEFAULT_AGENT:
        what = f"would replace the built-in agent {DEFAULT_AGENT!r}: give it another name"
    elif more := _uses(spec):
        what = more
    elif not all(is_loopback(url) for url in servers_of(spec)):
        what = "names a server by its URL, which would get your key: name an account"
    elif any(rule.effect == "allow" for rule in spec.rules):
        what = "allows itself something in its rules: one that comes with a folder may only ask or deny"
    elif spec.permissions in ("auto", "all"):
        what = f"gives itself the permissions {spec.permissions!r}: leave them out, or say 'ask' or 'read_only'"
    elif spec.isolation.wanted < 1 or spec.isolation.hosts or spec.isolation.bounds != Bounds():
        what = "changes what its commands are kept from"
    elif any(api.auth or api.private or api.safety or api.replay for api in spec.openapi):
        what = "would call an API with your secrets, at private addresses, or with less care than its methods ask for"
    elif any(one.secret or one.private or one.safety != "high_risk" for one in spec.remote_agents):
        what = "would ask remote agents with your secrets, at private addresses, or with less care than by default"
    if what:
        shown = _shown(found.path)
        raise ConfigError(f"{shown} came with its folder and {what}. If you mean it, say so with --agents {shown}")


def _uses(spec: AgentSpec) -> str:
    """Return what of others an agent would use that a file from an untrusted folder must not."""
    if spec.framework is not None:
        return "would install packages and run code of its own"
    if spec.servers:
        return "would use MCP servers"
    if spec.children is not None:
        return "would have tasks for other agents"
    if spec.memory is not None and (spec.memory.read or spec.memory.write):
        return "would have a part in what others remember"
    return ""


def servers_of(spec: AgentSpec) -> set[str]:
    """Return the server URLs among its model names. Each server would get the key of ROOST_API_KEY, and
    conversations."""
    models = (spec.model, spec.compaction.model, spec.stall.model)
    return {model for model in models if model is not None and "://" in model}


def _load_place(place: Path, *, code: bool = True) -> Iterable[AgentFile]:
    for path in files_of(place, code=code):
        yield from load_place_file(place, path)


def files_of(place: Path, *, code: bool = True) -> list[Path]:
    """Return the file itself, or the files of a folder that may define agents."""
    if not place.is_dir():
        return [place]
    found = [path for path in sorted(place.iterdir()) if path.suffix in _SUFFIXES and path.is_file()]
    return [path for path in found if not path.name.startswith((".", "_")) and (code or path.suffix != ".py")]


def load_place_file(place: Path, path: Path) -> list[AgentFile]:
    """Load one file of `place`. Returns nothing for a Markdown file without front matter in a folder, such as a
    README."""
    if path != place and path.suffix == ".md" and _front(_read(path)) is None:
        return []
    return load_agent_file(path)


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {_shown(path)}: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{_shown(path)}: an agent file has at most 1 MB; this one is larger")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{_shown(path)}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def _front(text: str) -> tuple[str, str, str] | None:
    """Split a text into (fence, header, body); None if it has no front matter."""
    first, _, rest = text.partition("\n")
    fence = first.rstrip()
    if fence not in _FENCES:
        return None
    end = re.search(rf"^{re.escape(fence)}[ \t]*$\n?", rest, re.MULTILINE)
    return None if end is None else (fence, rest[: end.start()], rest[end.end() :])


def _markdown(path: Path, text: str) -> AgentFile | None:
    parts = _front(text)
    if parts is None:
        return None
    fence, header, body = parts
    data = _yaml(path, header, 1) if fence == "---" else _toml(path, header, 1)
    body = body.strip()
    if body and "instructions" in data:
        raise ConfigError(
            f"{_place(path, text, 'instructions')}: 'instructions' stand in the front matter and below it; keep one"
        )
    return _build(path, data, text, {"instructions": body} if body else {})


def _toml(path: Path, text: str, above: int) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
        line = int(found[2]) if found and found[2] else text.count("\n") + 1
        message = found[1] if found else str(error)
        raise ConfigError(f"{_shown(path)}:{line + above}: not valid TOML: {message}") from error
    except RecursionError as error:
        raise ConfigError(f"{_shown(path)}: not valid TOML: too deep") from error


def _yaml(path: Path, text: str, above: int) -> dict[str, Any]:
    import yaml

    try:
        check_yaml(text, _MAX_YAML)
        data: object = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = (mark.line if mark else 0) + 1 + above
        raise ConfigError(f"{_shown(path)}:{line}: not valid YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{_shown(path)}:{1 + above}: not valid YAML: {error or 'too deep'}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{_shown(path)}:{1 + above}: the front matter is not a list of fields 'name: value'")
    fields = cast("dict[str, Any]", data)
    if fields.get("effort") is False:  # YAML reads `off` as False
        fields["effort"] = "off"
    return fields


def _build(path: Path, data: dict[str, Any], text: str, more: dict[str, Any]) -> AgentFile:
    _check_fields(path, text, data, AgentSpec.__struct_fields__, "")
    limits = data.get("limits")
    if isinstance(limits, dict):
        _check_fields(path, text, cast("dict[str, Any]", limits), Limits.__struct_fields__, "limits.")
    try:
        spec = msgspec.convert({"name": path.stem, **data, **more}, AgentSpec)
        apis = tuple(_beside(api, path) for api in spec.openapi)
        if spec.framework is not None:
            spec = msgspec.structs.replace(spec, source=_absolute(spec.source, path))
        return AgentFile(Agent.of(msgspec.structs.replace(spec, openapi=apis) if apis else spec), path)
    except msgspec.ValidationError as error:
        raise _wrong(path, text, error) from error
    except WrongValue as error:
        raise ConfigError(f"{_place(path, text, error.field)}: {_in_file(error, data, path)}") from error
    except ConfigError as error:
        raise ConfigError(f"{_place(path, text, 'rules')}: {error.message}") from error


def _beside(api: OpenApi, path: Path) -> OpenApi:
    """Return the API with a document whose relative path starts at the agent file."""
    if "://" in api.spec or Path(api.spec).expanduser().is_absolute():
        return api
    return api.replace(spec=_absolute(api.spec, path))


def _absolute(place: str, path: Path) -> str:
    """Return a path whose relative form starts at the agent file."""
    return str(path.parent.resolve() / Path(place).expanduser())


def _in_file(error: WrongValue, data: dict[str, Any], path: Path) -> str:
    if error.field != "name":
        return error.what
    fix = "Change" if "name" in data else "Set"
    return f"{data.get('name', path.stem)!r} cannot name an agent. {fix} 'name' to letters, digits and ._:-"


def _check_fields(path: Path, text: str, data: dict[str, Any], known: Sequence[str], prefix: str) -> None:
    for key in data:
        if key not in known:
            raise ConfigError(
                f"{_place(path, text, str(key))}: unknown field '{prefix}{key}'{did_you_mean(str(key), known)}"
            )


def _wrong(path: Path, text: str, error: msgspec.ValidationError) -> ConfigError:
    field, what = explained(error)
    key = re.split(r"[.\[]", field)[-1 if field.startswith("limits.") else 0]
    extra = ', as in tools = ["read_file"]' if field == "tools" else ""
    if "enum" in what and "." not in field:
        extra = f". The known ones are {', '.join(choices(AgentSpec, field))}"
    return ConfigError(f"{_place(path, text, key)}: field '{field or 'limits'}': {what}{extra}")


def _place(path: Path, text: str, key: str) -> str:
    """Return `file:line` of a field, or the file alone if the field is not found."""
    found = re.search(rf"^[ \t]*\[*[\"']?{re.escape(key)}[\"']?[ \t]*[=:\]]", text, re.MULTILINE) if key else None
    line = text.count("\n", 0, found.start()) + 1 if found else None
    return _shown(path) if line is None else f"{_shown(path)}:{line}"


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _python(path: Path) -> list[AgentFile]:
    import importlib.machinery
    import importlib.util
    import sys

    name = f"roost_agents.{path.stem}_{abs(hash(str(path.resolve()))):x}"
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_loader(name, loader)
    if spec is None:
        raise ConfigError(f"{_shown(path)}: Python cannot import this file")
    module, before = importlib.util.module_from_spec(spec), sys.modules.get(name)
    sys.modules[name] = module  # dataclasses and msgspec look their module up
    try:
        # Not from the bytecode cache, which misses a change within one second that keeps the size.
        exec(loader.source_to_code(loader.get_data(str(path)), str(path)), vars(module))
    except Exception as error:  # the author must see whatever the user's own module raises
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        kind = "" if isinstance(error, ConfigError) else f"{type(error).__name__}: "
        raise ConfigError(f"{_shown(path)}{_line(error, path)}: {kind}{error}") from error
    found = list({id(value): value for value in vars(module).values() if isinstance(value, Agent)}.values())
    return [AgentFile(agent, path) for agent in found]


def _line(error: Exception, path: Path) -> str:
    """Return the last line of the file itself in the error's traceback, as `:line`."""
    if isinstance(error, SyntaxError) and error.lineno and error.filename == str(path):
        return f":{error.lineno}"
    line, step = "", error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == str(path):
            line = f":{step.tb_lineno}"
        step = step.tb_next
    return line
