"""Fetch a package from where its source says: a folder, an archive, a git repository, a hub, or a site with
`.well-known/agent-skills`.

The client of a daemon fetches, and sends the daemon one archive: so the daemon reads no path and opens no address that
somebody names. No program of a fetched package runs, and git checks nothing out."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urldefrag, urljoin, urlsplit

import msgspec

from roost.errors import Invalid, NotFound
from roost.features.packages.archive import (
    MOST_BYTES,
    MOST_FILES,
    MOST_PACKED,
    PackageFile,
    PackageRefused,
    checked_path,
    digest_of,
    pack,
    read_folder,
    unpack,
)
from roost.features.packages.hub import Hub, HubIndex
from roost.features.packages.manifest import read_package
from roost.tools.checked_http import ask, judged, parts_of, place_of
from roost.tools.errors import ToolError
from roost.workspace.objects import open_objects
from roost.workspace.objects.folder import FolderObjects

_INDEX = 8 * 1024 * 1024
_HOPS = 5
_GIT_SECONDS = 180.0
_LISTING = 4 * 1024 * 1024
"""Most bytes of the names of a repository's files."""
_MESSAGE = 1024 * 1024
_WELL_KNOWN = "/.well-known/agent-skills/index.json"
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "credential.helper=",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.file.allow=always",
    "http.followRedirects=false",
    "transfer.fsckObjects=true",
    "fetch.recurseSubmodules=false",
)


class FetchFailed(Invalid):
    """The source does not answer, or gives something else than a package."""

    code = "fetch_failed"


class Fetched(NamedTuple):
    """A package as an archive. name: of a package without a manifest. source: from which an update fetches again."""

    archive: bytes
    source: str
    name: str = ""


async def fetch(source: str, *, hub: str = "", wanted: str = "*") -> Fetched:
    """Fetch a package. source: a folder or archive; `git+https://HOST/REPO[@REF][#FOLDER]`; the address of an archive;
    the address of a site with `.well-known/agent-skills`, and `#SKILL` if it has several; with a `hub` a name without
    `/` is that of its package. wanted: a range of its versions. Raises `FetchFailed`, `NotFound`, `PackageRefused`."""
    if source.startswith("hub:"):
        hub, _, name = source.removeprefix("hub:").rpartition("#")
        return await _from_hub(hub, name, wanted)
    if source.startswith("git+"):
        return await _from_git(source)
    if source.startswith(("http://", "https://")):
        return await _from_web(source)
    if hub and "/" not in source:  # a folder of this name needs ./
        return await _from_hub(hub, source, wanted)
    path = Path(source).expanduser()
    if path.is_dir() or path.is_file():
        return await asyncio.to_thread(_from_path, path.resolve())
    more = "" if hub else "; for a package of a hub, name the hub with --hub or ROOST_HUB"
    raise NotFound(f"{source!r} is no folder, archive or address{more}")


async def index_of(hub: str) -> HubIndex:
    """Return the index of a hub: an address, a folder, or `s3://bucket/prefix`. Raises `FetchFailed`,
    `ObjectsFailed`."""
    if not hub.startswith(("http://", "https://")):
        return await asyncio.to_thread(lambda: open_hub(hub).index())
    try:
        index = msgspec.json.decode(await _get(f"{hub.rstrip('/')}/index.json", hub, _INDEX), type=HubIndex)
    except msgspec.DecodeError as error:
        raise FetchFailed(f"{hub} is no hub: {error}") from None
    if index.roost_hub != 1:
        raise FetchFailed(f"{hub} speaks format {index.roost_hub}, this Roost only 1")
    return index


def open_hub(place: str, *, make: bool = False) -> Hub:
    """Open a hub in a folder or an object store. make: make the folder. Blocks. Raises `FetchFailed`, `ConfigError`,
    `ObjectsFailed`."""
    if "://" in place:
        return Hub(open_objects(place))
    folder = Path(place).expanduser().resolve()
    if not make and not folder.is_dir():
        raise FetchFailed(f"there is no hub {place!r}: publish a package into it first")
    return Hub(FolderObjects.make(folder), folder)


async def _from_hub(hub: str, name: str, wanted: str) -> Fetched:
    entry = (await index_of(hub)).find(name, wanted)
    if hub.startswith(("http://", "https://")):
        data = await _get(urljoin(hub.rstrip("/") + "/", entry.archive), hub, MOST_PACKED)
    else:
        data = await asyncio.to_thread(lambda: open_hub(hub).archive(entry.digest))
    package = await asyncio.to_thread(lambda: read_package(unpack(data)))
    told = package.manifest
    if (digest_of(package.files), told.name, told.version) != (entry.digest, name, entry.version):
        raise PackageRefused(f"the hub gave other files for {name!r} {entry.version} than its index says")
    place = hub if "://" in hub else str(Path(hub).expanduser().resolve())
    return Fetched(data, f"hub:{place}#{name}", name)


def _from_path(path: Path) -> Fetched:
    if path.is_dir():
        return Fetched(pack(read_folder(path)), str(path), path.name)
    if path.stat().st_size > MOST_PACKED:
        raise PackageRefused(f"the archive has more than {MOST_PACKED >> 20} MiB")
    return Fetched(path.read_bytes(), str(path), path.name.split(".")[0])


async def _from_web(source: str) -> Fetched:
    url, skill = urldefrag(source)
    path = urlsplit(url).path
    if path.endswith((".tar.gz", ".tgz", ".zip")):
        return Fetched(await _get(url, url, MOST_PACKED), source, path.rsplit("/", 1)[-1].split(".")[0])
    return await _from_well_known(url, skill)


class _Entry(msgspec.Struct):
    """An entry of `.well-known/agent-skills`."""

    name: str
    url: str
    digest: str
    type: str = "archive"
    description: str = ""


class _Discovery(msgspec.Struct):
    skills: list[_Entry]


async def _from_well_known(url: str, skill: str) -> Fetched:
    index = url if url.endswith("/index.json") else f"{url.rstrip('/')}{_WELL_KNOWN}"
    try:
        found = msgspec.json.decode(await _get(index, url, _INDEX), type=_Discovery).skills
    except msgspec.DecodeError as error:
        raise FetchFailed(f"{index} is no index of skills: {error}") from None
    names = ", ".join(one.name for one in found[:50])
    chosen = [one for one in found if one.name == skill or (not skill and len(found) == 1)]
    if len(chosen) != 1:
        raise NotFound(f"{url} has no skill {skill!r}; choose one with {url}#NAME: {names}")
    entry = chosen[0]
    data = await _get(urljoin(index, entry.url), url, MOST_PACKED)
    if f"sha256:{hashlib.sha256(data).hexdigest()}" != entry.digest.lower():
        raise PackageRefused(f"{entry.url} has not the digest that the index of {url} says")
    if entry.type == "skill-md":
        data = pack({"SKILL.md": PackageFile(data)})
    elif entry.type != "archive":
        raise FetchFailed(f"{entry.name!r} is of the unknown type {entry.type!r}")
    return Fetched(data, f"{url}#{entry.name}", entry.name)


async def _get(url: str, given: str, most: int) -> bytes:
    """Return a body. The host of `given`, which the user named, may be of a private network; every other host that a
    redirect or an index leads to must be public. Raises `FetchFailed`, `NotFound`."""
    try:
        host, port = place_of(parts_of(given))
        for _ in range(_HOPS):
            parts = parts_of(url)
            if parts.scheme == "http" and given.startswith("https:"):
                raise FetchFailed(f"{given} leads to {url[:200]}, which is not encrypted")
            addresses = await judged(*place_of(parts), allowed={f"{host}:{port}"})
            answer = await ask("GET", url, addresses, cap=most)
            if answer.status in (301, 302, 303, 307, 308) and "location" in answer.headers:
                url = urljoin(url, answer.headers["location"])
                continue
            if answer.status in (404, 410):
                raise NotFound(f"{url} is not there ({answer.status})")
            if answer.status != 200:
                raise FetchFailed(f"{url} answered {answer.status} {answer.reason}")
            if answer.cut:
                raise FetchFailed(f"{url} has more than {most} bytes")
            return answer.body
    except ToolError as error:
        raise FetchFailed(str(error)) from None
    raise FetchFailed(f"{given} redirects more than {_HOPS} times")


async def _from_git(source: str) -> Fetched:
    url, folder = urldefrag(source.removeprefix("git+"))
    head, at, ref = url.rpartition("@")
    if at and "/" in head.partition("://")[2]:
        url = head
    else:
        ref = ""
    if not url.startswith(("https://", "file:///")):
        raise FetchFailed(f"{url[:200]!r}: git repositories are fetched by https:// or file:///")
    if ref.startswith("-") or any(char.isspace() or char in "~^:?*[\\" for char in ref):
        raise FetchFailed(f"{ref[:100]!r} is no name of a branch or tag")
    folder = folder.strip("/")
    with tempfile.TemporaryDirectory(prefix="roost-git-") as at_:
        clone = str(Path(at_, "clone"))
        branch = ["--branch", ref] if ref else []
        options = ["--bare", "--depth", "1", "--single-branch", "--no-tags", "--template="]
        await _git(["clone", "--quiet", *options, *branch, "--", url, clone])
        listed = await _git(["-C", clone, "ls-tree", "-r", "-z", "-l", "--full-tree", f"HEAD:{folder}"], most=_LISTING)
        files = await _blobs(clone, _entries(listed.decode("utf-8", "surrogateescape")))
    name = (folder or urlsplit(url).path).rstrip("/").rsplit("/", 1)[-1].removesuffix(".git").lower()
    return Fetched(await asyncio.to_thread(pack, files), source, name)


def _entries(listed: str) -> list[tuple[str, str, bool]]:
    """Return object, path and mode of the files of a tree. Links and submodules are left out. Raises
    `PackageRefused`."""
    found: list[tuple[str, str, bool]] = []
    size = 0
    for line in filter(None, listed.split("\0")):
        about, _, path = line.partition("\t")
        mode, kind, name, bytes_ = about.split()
        if kind != "blob" or mode not in ("100644", "100755"):
            continue
        size += int(bytes_)
        if len(found) >= MOST_FILES or size > MOST_BYTES:
            raise PackageRefused(
                f"a package has at most {MOST_FILES} files and {MOST_BYTES >> 20} MiB: name a folder with #FOLDER"
            )
        found.append((name, checked_path(path), mode == "100755"))
    return found


async def _blobs(clone: str, entries: Sequence[tuple[str, str, bool]]) -> dict[str, PackageFile]:
    asked = "".join(f"{name}\n" for name, _, _ in entries).encode()
    data = await _git(["-C", clone, "cat-file", "--batch"], asked, MOST_BYTES + _LISTING)
    files: dict[str, PackageFile] = {}
    place = 0
    for _, path, run in entries:
        end = data.index(b"\n", place)
        size = int(data[place:end].split()[2])
        files[path] = PackageFile(data[end + 1 : end + 1 + size], run)
        place = end + 2 + size
    return files


async def _git(words: Sequence[str], given: bytes = b"", most: int = _MESSAGE) -> bytes:
    """Run git without the user's configuration, hooks, helpers and submodules. Raises `FetchFailed`, also when it says
    more than `most` bytes."""
    settings = [word for one in _SETTINGS for word in ("-c", one)]
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_ALLOW_PROTOCOL": "https:file",
    }
    try:
        process = await asyncio.create_subprocess_exec(
            "git", *settings, *words,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=env, start_new_session=True,
        )  # fmt: skip
    except FileNotFoundError:
        raise FetchFailed("git is not on this machine") from None
    try:
        async with asyncio.timeout(_GIT_SECONDS):
            _, out, problem = await asyncio.gather(
                _write(process.stdin, given), _read(process.stdout, most), _read(process.stderr, _MESSAGE)
            )
            await process.wait()
    except TimeoutError:
        raise FetchFailed(f"git did not end within {_GIT_SECONDS:g} seconds") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise FetchFailed(f"git failed: {problem.decode(errors='replace').strip()[-500:]}")
    return out


async def _write(pipe: asyncio.StreamWriter | None, data: bytes) -> None:
    assert pipe is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        pipe.write(data)
        await pipe.drain()
    pipe.close()


async def _read(pipe: asyncio.StreamReader | None, most: int) -> bytes:
    assert pipe is not None
    found = bytearray()
    while piece := await pipe.read(64 * 1024):
        found += piece
        if len(found) > most:
            raise FetchFailed(f"git says more than {most >> 20} MiB")
    return bytes(found)
