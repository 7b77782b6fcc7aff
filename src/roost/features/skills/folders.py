"""Find skills in folders, and read them.

A folder of skills has a folder for each skill, with a `SKILL.md` in it. Roost looks where other products put them. All
functions block: call them in a thread.

A skill of a workspace is a folder of regular files, and its digest is that of all of them: a link makes it unusable."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from roost.errors import Invalid, RoostError
from roost.features.packages.skill_format import read
from roost.features.packages.skill_validation import FILES, MAX_DESCRIPTION, MAX_FILE, check_fields, check_name
from roost.features.skills.events import SkillPlace
from roost.memory.quoting import named
from roost.workspace.files import Workspace
from roost.workspace.safe_paths import read_file

IN_WORKSPACE = (".roost/skills", ".agents/skills", ".claude/skills")
IN_USER_HOME = (".agents/skills", ".claude/skills")
MOST_FILES = 2_000
"""Most files of a skill."""
MOST_BYTES = 64 * 1024 * 1024
"""Most bytes of all files of a skill."""
UPLOADED = "uploaded-skills"
"""Folder of the home with the unpacked skills that clients uploaded. What is missing is unpacked again."""
SKIPPED = (".git", "__pycache__", "node_modules")
"""Folders that are no part of a skill that the user set up."""
_MOST_SKILLS = 500
"""Most skills of one folder of skills."""


class SkillDamaged(Invalid):
    """The skill cannot be used: it is too large, or its files cannot be read."""

    code = "skill_invalid"


class Place(NamedTuple):
    """A folder of skills. inside: the workspace that it must not leave by links; None where the user set it up."""

    kind: SkillPlace
    folder: Path
    inside: Workspace | None = None


class Skill(NamedTuple):
    """A skill as it is on disk. folder: its real path. shown: its path for people and models. description: empty if it
    cannot be used. problems: what the specification forbids; it may be usable in spite of them."""

    name: str
    place: SkillPlace
    folder: Path
    shown: str
    description: str
    problems: tuple[str, ...] = ()

    @property
    def usable(self) -> bool:
        return bool(self.description)


class SkillFile(NamedTuple):
    """A file of a skill. path: relative to its folder, with `/`. run: somebody may execute it."""

    path: str
    size: int
    run: bool


def places(workspace: Workspace | None, home: Path, packages: Sequence[Path], user: Path | None) -> list[Place]:
    """Return where skills are, in order of precedence: of two with one name the first counts. user: the home folder of
    the user, None to leave it out."""
    found = [] if workspace is None else [Place("workspace", workspace.place / at, workspace) for at in IN_WORKSPACE]
    found.append(Place("home", home / "skills"))
    found += [Place("package", folder) for folder in packages]
    return found + ([] if user is None else [Place("user", user / at) for at in IN_USER_HOME])


def skill_folders(place: Place) -> Iterator[Path]:
    """Yield the folders of a place that have a `SKILL.md`, by name. In a workspace one may be a link, which
    `list_files` refuses; elsewhere they are real paths."""
    if not place.folder.is_dir():  # also because `resolve` would make a private workspace
        return
    try:
        real = place.folder if place.inside is None else place.inside.resolve(str(place.folder))
        names = sorted(os.listdir(real))
    except (OSError, RoostError):
        return
    for name in names[:_MOST_SKILLS]:
        folder = real / name if place.inside is not None else Path(os.path.realpath(real / name))
        if not name.startswith(".") and (folder.is_symlink() or any(os.path.lexists(folder / file) for file in FILES)):
            yield folder


def read_skill(place: Place, folder: Path) -> tuple[Skill, str]:
    """Return a skill with the digest of all its files. It is unusable, and the digest empty, without a description, a
    name that the specification allows, or files that can be read. One of a workspace has the name of its folder: the
    policy's rules are about that path."""
    try:
        content = content_of(folder, place.inside, is_main)
        fields, _ = read(content.main.decode())
    except (RoostError, UnicodeDecodeError) as error:
        return unusable(place, folder, error.message if isinstance(error, RoostError) else str(error)), ""
    problems = tuple(check_fields(fields, folder.name))
    name, given = fields.get("name", ""), fields.get("description", "")
    if place.inside is not None or check_name(name):
        name = folder.name
    if check_name(name) or not isinstance(given, str) or not given.strip():
        return unusable(place, folder, *problems), ""
    skill = Skill(name.strip(), place.kind, folder, _shown(place, folder), given.strip()[:MAX_DESCRIPTION], problems)
    return skill, content.digest


def unusable(place: Place, folder: Path, *problems: str) -> Skill:
    """Return a skill that cannot be used."""
    return Skill(folder.name, place.kind, folder, _shown(place, folder), "", problems)


class Listing(NamedTuple):
    """The files of a skill. signature: changes when a file does, and is cheaper than the digest. size: their bytes."""

    paths: Sequence[str]
    signature: bytes
    size: int


def list_files(folder: Path, *, whole: bool) -> Listing:
    """List the files of a skill, by path. whole: for a skill of a workspace, every entry counts: it must be a regular
    file or a folder. Else links, and the folders `SKIPPED`, are left out. Raises `SkillDamaged`."""
    found: list[tuple[str, os.stat_result]] = []
    entries = size = 0
    if whole and folder.is_symlink():
        raise SkillDamaged("it is a link: a skill of a workspace is a folder with plain files")
    try:
        for at, folders, names in os.walk(folder, onerror=_fail if whole else None):
            folders[:] = [one for one in folders if whole or one not in SKIPPED]
            entries += len(folders) + len(names)
            for name in (*names, *folders):
                status = os.lstat(path := os.path.join(at, name))
                if stat.S_ISREG(status.st_mode):
                    found.append((path.removeprefix(f"{folder}/"), status))
                    size += status.st_size
                elif whole and not stat.S_ISDIR(status.st_mode):
                    raise SkillDamaged("it has a link or a device: a skill of a workspace is a folder with plain files")
            if entries > MOST_FILES or size > MOST_BYTES:
                raise SkillDamaged(f"it is too large: at most {MOST_FILES} files and {MOST_BYTES >> 20} MiB")
    except OSError as error:
        raise SkillDamaged(f"it cannot be read: {error.strerror or error}") from None
    found.sort()
    state = [(path, one.st_mode, one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for path, one in found]
    return Listing([path for path, _ in found], blake2b(repr(state).encode(), digest_size=16).digest(), size)


def _fail(error: OSError) -> None:
    raise error


class Content(NamedTuple):
    """The content of a skill at one moment. digest: of its folder's name and all files: their paths, whether they can
    be executed, and their bytes. kept: bytes of those that were asked for, by path."""

    digest: str
    files: Sequence[SkillFile]
    kept: Mapping[str, bytes]

    @property
    def main(self) -> bytes:
        """The file with the instructions, if it was kept. Raises `SkillDamaged`."""
        data = next((self.kept[name] for name in FILES if name in self.kept), None)
        if data is None or len(data) > MAX_FILE:
            raise SkillDamaged(f"it has no SKILL.md of at most {MAX_FILE >> 20} MiB")
        return data


def content_of(folder: Path, inside: Workspace | None, keep: Callable[[str], bool] = lambda path: False) -> Content:
    """Read all files of a skill once, so that the digest is that of the bytes that are kept. Follows no link. inside:
    the workspace that the skill is in. Raises `SkillDamaged`."""
    listing = list_files(folder, whole=inside is not None)
    files, kept, left = list[SkillFile](), dict[str, bytes](), MOST_BYTES
    workspace = inside or Workspace(folder, private=False)
    try:
        whole = blake2b(f"{folder.name}\n".encode(), digest_size=16)
        for path in listing.paths:
            one = read_file(workspace, folder / path, cap=left)
            left -= len(one.data)
            files.append(SkillFile(path, len(one.data), bool(one.mode & 0o100)))
            whole.update(f"{len(path.encode())} {path} {int(files[-1].run)} {one.digest}\n".encode())
            if keep(path):
                kept[path] = one.data
    except (RoostError, OSError, UnicodeEncodeError) as error:
        raise SkillDamaged(f"it cannot be read: {_told(error)}") from None
    return Content(whole.hexdigest(), files, kept)


def is_main(path: str) -> bool:
    """Whether this is the file with the instructions."""
    return path in FILES


def _shown(place: Place, folder: Path) -> str:
    if place.inside is None:
        return str(folder)
    return f"{place.folder.relative_to(place.inside.place).as_posix()}/{named(folder.name)}"


def _told(error: Exception) -> str:
    if isinstance(error, RoostError):
        return error.message
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
