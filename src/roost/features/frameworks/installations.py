"""Environments and sources of agents, kept in the home and shared by its sessions, which can only read them.

`HOME/frameworks/environments/ID` is a virtual environment, made by uv from a lock with the digest of each package:
wheels only, so that an installation runs no code of a package. `HOME/frameworks/locks` has the locks, and
`HOME/frameworks/code/AGENT/ID` copies of source folders, so that an agent that is edited in the middle of a turn goes
on with the code that began it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from roost.agent.definition import AgentSpec
from roost.errors import Conflict
from roost.features.frameworks.ports import Code, Environment, InstallFailed
from roost.features.frameworks.warm_programs import WarmPrograms
from roost.log.documents import Documents, Put

RUNNER = Path(__file__).parent / "runner"
PACKAGES = {
    "openai-agents": "openai-agents",
    "langgraph": "langgraph",
    "crewai": "crewai",
    "autogen": "autogen-agentchat",
    "claude-agent-sdk": "claude-agent-sdk",
    "pydantic-ai": "pydantic-ai-slim",
    "termo-agent": "termo-agent",
    "aios": "",
    "python": "",
}
"""By framework: the package that its agents need, where their requirements do not name one."""
ENVIRONMENT_DAYS = 14.0
"""Days after its last use for which an environment stays."""
CODE_DAYS = 90.0
"""The same for a copy of an agent's source: a turn that waits for a person needs it, and no node can make it again."""
LOCK = "framework.lock"
"""Kind of the documents that keep locks. The id is the digest of the requirements, of Python and of the platform."""
SOURCE_BYTES = 32 * 1024 * 1024
SOURCE_FILES = 4000
_SECONDS = 900.0
_ID = re.compile("[0-9a-f]{24}")
_LEFT_OUT = ("__pycache__", ".git", ".venv", "venv", "node_modules", ".roost-agent")


class InstalledAgents:
    """Implements `ports.Installations` in the home of a node."""

    def __init__(self, home: Path, documents: Documents | None = None) -> None:
        """documents: of the store, by which all its nodes have the same locks. None: this home has its own."""
        self._documents, self._agreed = documents, set[Path]()
        self.folder = (home / "frameworks").resolve()
        self._building: dict[str, asyncio.Lock] = {}
        self.warm = WarmPrograms()

    @property
    def runner(self) -> str:
        return str(RUNNER)

    async def environment(self, spec: AgentSpec, known: str = "") -> Environment:
        if (there := await asyncio.to_thread(self._there, known)) is not None:
            return there
        wanted = _requirements(spec)
        name = _digest(*wanted, *_machine())
        async with self._building.setdefault(name, asyncio.Lock()):
            lock = await self._lock(name, wanted)
            found = self._found(lock)
            if known and found.id != known:
                raise InstallFailed(
                    f"the turn began in the environment {known}, which this machine does not have; start it over"
                )
            if Path(found.python).exists():
                await asyncio.to_thread(os.utime, self.folder / "environments" / found.id)
                return found
            began = time.monotonic()
            await self._build(found, lock)
            return found._replace(seconds=time.monotonic() - began)

    def _there(self, known: str) -> Environment | None:
        """Return the environment of this id, if this home has it. Blocks."""
        place = self.folder / "environments" / known
        if not _ID.fullmatch(known) or not (python := place / "bin" / "python").exists():
            return None
        os.utime(place)
        return Environment(known, str(python), 0)

    async def code(self, spec: AgentSpec, known: str = "") -> Code:
        if not spec.source:
            raise InstallFailed(f"agent {spec.name!r} has no `source`, the folder of {spec.object!r}")
        try:
            source = Path(spec.source).expanduser()
            return await asyncio.to_thread(self._copied, source, self._code_of(spec), known)
        except OSError as error:
            raise InstallFailed(f"the source of agent {spec.name!r} cannot be copied: {error}") from error

    def folders(self, spec: AgentSpec) -> list[Path]:
        """Return the folders that a session must be able to read: environments, and its agent's code. Blocks."""
        found = [self.folder / "environments", self._code_of(spec)]
        for folder in found:
            folder.mkdir(parents=True, exist_ok=True)
        return [*found, RUNNER]

    def _code_of(self, spec: AgentSpec) -> Path:
        return self.folder / "code" / _digest(spec.name, spec.source)

    async def _lock(self, name: str, wanted: tuple[str, ...]) -> Path:
        """Return the file with the exact packages and their digests. It is made once, so that all sessions agree."""
        lock = self.folder / "locks" / f"{name}.txt"
        if not lock.exists() and not await self._fetched(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            given = lock.with_suffix(".in")
            await asyncio.to_thread(given.write_text, "\n".join(wanted) + "\n")
            made = lock.with_suffix(f".{os.getpid()}.new")
            if wanted:
                argv = ["pip", "compile", "-q", "--no-build", "--generate-hashes", "--no-header", "--no-annotate"]
                await _uv(self.folder, *argv, "--python", sys.executable, "-o", str(made), str(given))
            else:
                made.write_text("")
            os.replace(made, lock)
        if self._documents is not None and lock not in self._agreed:
            await self._agree(self._documents, lock)
            self._agreed.add(lock)
        return lock

    async def _fetched(self, lock: Path) -> bool:
        """Take the lock from the store. Returns whether it has one."""
        found = None if self._documents is None else await self._documents.get(LOCK, lock.stem)
        if found is not None:
            await asyncio.to_thread(_replace, lock, found.body)
        return found is not None

    async def _agree(self, documents: Documents, lock: Path) -> None:
        """Use the lock of the store, which is that of the node that was first. Raises `StoreFailed`."""
        mine = await asyncio.to_thread(lock.read_bytes)
        theirs = await documents.get(LOCK, lock.stem)
        if theirs is None:
            try:
                await documents.write([Put(kind=LOCK, id=lock.stem, body=mine, revision=0)])
                return
            except Conflict:
                theirs = await documents.get(LOCK, lock.stem)
        if theirs is not None and theirs.body != mine:
            await asyncio.to_thread(_replace, lock, theirs.body)

    def tidy(self) -> None:
        """Remove environments and copies of code that no run has used for long. A turn that still needs such an
        environment gets it again by its lock. Blocks."""
        places = [(self.folder / "environments", ENVIRONMENT_DAYS)]
        places += [(own, CODE_DAYS) for own in _below(self.folder / "code")]
        for place, days in places:
            for one in _below(place):
                with contextlib.suppress(OSError):
                    limit = 1.0 if one.name.startswith(".") else days  # what a killed process was making or removing
                    if one.stat().st_mtime < time.time() - limit * 86400:
                        away = one if one.name.startswith(".") else one.with_name(f".old-{one.name}")
                        os.replace(one, away)
                        shutil.rmtree(away, ignore_errors=True)

    def _found(self, lock: Path) -> Environment:
        text = lock.read_text()
        name = _digest(text, *_machine())
        packages = sum(1 for line in text.splitlines() if "==" in line and not line.startswith((" ", "#")))
        python = self.folder / "environments" / name / "bin" / "python"
        return Environment(name, str(python), packages)

    async def _build(self, found: Environment, lock: Path) -> None:
        """Build an environment beside its place, and move it there when it is whole."""
        place = Path(found.python).parent.parent
        place.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
        try:
            await _uv(
                self.folder, "venv", "-q", "--relocatable", "--allow-existing", "--python", sys.executable, str(made)
            )
            python = str(made / "bin" / "python")
            argv = ["pip", "sync", "-q", "--require-hashes", "--no-build", "--compile-bytecode"]
            if lock.stat().st_size:
                await _uv(self.folder, *argv, "--python", python, str(lock))
            await asyncio.to_thread(made.chmod, 0o755)
            try:
                os.rename(made, place)
            except OSError:
                if not Path(found.python).exists():
                    raise
        except OSError as error:
            raise InstallFailed(f"the environment cannot be built: {error}") from error
        finally:
            await asyncio.to_thread(shutil.rmtree, made, ignore_errors=True)

    def _copied(self, source: Path, own: Path, known: str) -> Code:
        if known:
            if not _ID.fullmatch(known) or not (own / known).is_dir():
                raise InstallFailed(f"the turn began with the code {known}, which this machine does not have")
            os.utime(own / known)
            return Code(known, str(own / known))
        files = dict(_files(source))
        name = _digest(*(f"{path}\0{_digest_of(data)}" for path, data in sorted(files.items())))
        place = own / name
        if place.is_dir():
            os.utime(place)
        else:
            _write(files, place)
        return Code(name, str(place))


def _write(files: Mapping[str, bytes], place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".new-", dir=place.parent))
    try:
        for path, data in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_bytes(data)
        made.chmod(0o755)
        with contextlib.suppress(OSError):  # another session was first
            os.rename(made, place)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    """Return the files of a source folder. Links that lead out of it are left out. Raises `InstallFailed`."""
    if not source.is_dir():
        raise InstallFailed(f"there is no folder {str(source)!r}: correct `source` of the agent")
    total = count = 0
    inside = source.resolve()
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name not in _LEFT_OUT and not name.startswith(".")]
        for name in names:
            path = Path(folder, name)
            if name.startswith(".") or not path.resolve().is_relative_to(inside) or not path.is_file():
                continue
            total, count = total + path.stat().st_size, count + 1
            if total > SOURCE_BYTES or count > SOURCE_FILES:
                what = f"at most {SOURCE_FILES} files and {SOURCE_BYTES // 1024**2} MB"
                raise InstallFailed(f"the source {str(source)!r} is too large: {what}; give the agent its own folder")
            yield str(path.relative_to(source)), path.read_bytes()


def _replace(lock: Path, text: bytes) -> None:
    lock.parent.mkdir(parents=True, exist_ok=True)
    made = lock.with_suffix(f".{os.getpid()}.new")
    made.write_bytes(text)
    os.replace(made, lock)


def _below(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _requirements(spec: AgentSpec) -> tuple[str, ...]:
    own = PACKAGES[spec.framework or "python"]
    named = any(one.lower().startswith(own) for one in spec.requirements)
    return tuple(sorted({*spec.requirements, *([own] if own and not named else [])}))


def _machine() -> tuple[str, ...]:
    return (sys.version, os.path.realpath(sys.executable), platform.platform(terse=True), platform.machine())


def _digest(*texts: str) -> str:
    return _digest_of("\0".join(texts).encode())


def _digest_of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


async def _uv(folder: Path, *argv: str) -> None:
    """Run uv in a folder of the home: it obeys a `uv.toml` where it runs, such as that of a folder that somebody
    cloned, which could name another index. Raises `InstallFailed`."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise InstallFailed("uv, which makes environments, is not on the PATH; install it with: pip install uv")
    process = await asyncio.create_subprocess_exec(
        uv,
        *argv,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        raise InstallFailed(f"uv {argv[0]} took longer than {_SECONDS:g} seconds") from None
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.shield(process.wait())
    if process.returncode:
        raise InstallFailed(f"uv {' '.join(argv[:2])} failed: {said.decode('utf-8', 'replace').strip()[-1500:]}")
