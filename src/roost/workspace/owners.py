"""Give each private workspace a user of the host, where the daemon is root. So no file there belongs to root, and a
session that escapes its view of the files has no rights on any other session's.

A folder's owner is its user. A registry of this machine (a file for each number, with the folder's path in it) ensures
that no two folders share a number, also across several daemons. The number of a deleted folder is free again. A folder
of root (a new one, or one of a former version), or of a user that is registered for another folder (a copied home, a
fork), is given a number together with its content.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import stat
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Collection, Generator, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from roost.errors import SandboxError
from roost.sandbox.as_user import fault
from roost.sandbox.base import User
from roost.workspace.atomic_swap import aside

REGISTRY = Path("/var/lib/roost/users")
VARIABLE = "ROOST_USERS"
"""Environment variable with another folder for the registry. Containers that share volumes must share it too."""
PLENTY = (0x78000000, 0x7FFDFFFF)
"""First and last number. Neither systemd (`docs/UIDS-GIDS.md`, "unused") nor SSSD assigns these."""
FEW = (61184, 65519)
"""First and last number of systemd's `DynamicUser=`, for a user namespace of at most 65,536 numbers (LXC, Podman)."""
_NOBODY = 65534
_TRIES = 5000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ENTRY = getattr(os, "O_PATH", os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC
_DEPTH = 250
_PROGRAM = ("/bin/sh", "-c", 'test -x "$0" && : > file', sys.executable)
"""What a session's user must be able to do: run Python, make a file."""


class Owners:
    """The users of one home's workspaces. Thread-safe; its methods block. `numbers`: first and last; the last is
    reserved for trials."""

    def __init__(self, numbers: tuple[int, int], registry: Path = REGISTRY) -> None:
        self._first, self._count = numbers[0], numbers[1] - numbers[0]
        self._registry = registry
        self._mine: dict[Path, int] = {}
        """Numbers assigned by this process: such a folder may be missing for a moment, while it is restored."""
        self._lock = threading.Lock()

    @property
    def trial(self) -> User:
        """The user for guests that only probe a backend."""
        number = self._first + self._count
        return User(number, number)

    def claim(self, folder: Path) -> User:
        """Return the user of an existing private workspace, and give it to that user if needed. Raises `SandboxError`
        when no number is free, and `OSError`."""
        user = self._user(folder)
        if os.lstat(folder).st_uid != user.uid:
            give_tree(folder, user)
        return user

    def settle(self, folder: Path) -> None:
        """Give all of a private workspace to its user, after the daemon has put files into it. A missing folder is
        fine. Raises as `claim`."""
        if folder.is_dir():
            give_tree(folder, self._user(folder))

    def release(self, folder: Path) -> None:
        """Free the number of a workspace that is deleted for good."""
        folder = _plain(folder)
        with self._lock:
            number = self._mine.pop(folder, None)
            if number is not None and not folder.exists():
                (self._registry / str(number)).unlink(missing_ok=True)

    def _user(self, folder: Path) -> User:
        folder = _plain(folder)
        with self._lock, self._registered():
            number = self._mine.get(folder) or self._find(folder, os.lstat(folder).st_uid)
            self._mine[folder] = number
            (self._registry / str(number)).write_text(os.fsdecode(folder), errors="surrogateescape")
        return User(number, number)

    def _find(self, folder: Path, now: int) -> int:
        if self._first <= now < self._first + self._count and self._is_free(now, folder):
            return now
        start = int.from_bytes(blake2b(os.fsencode(folder), digest_size=8).digest(), "big")
        for step in range(min(self._count, _TRIES)):
            number = self._first + (start + step) % self._count
            if self._is_free(number, folder) and not _has_name(number):
                return number
        raise SandboxError(
            f"no user is free for the workspace {str(folder)!r}: {self._count} numbers from {self._first} on are given"
            " out; set more in policy.toml (sandbox.users), or delete sessions that nobody needs"
        )

    def _is_free(self, number: int, folder: Path) -> bool:
        """True when the number is free or belongs to this folder."""
        if number in self._mine.values():
            return False
        try:
            other = Path((self._registry / str(number)).read_text(errors="surrogateescape"))
        except FileNotFoundError:
            return True
        return other == folder or not self._is_theirs(other, number)

    def _is_theirs(self, folder: Path, number: int) -> bool:
        """True when the folder holds the number. Root may have just made it, or it may be moved aside for a moment."""
        try:
            return os.lstat(folder).st_uid in (number, 0)
        except OSError:
            return any(map(os.path.lexists, aside(folder)))

    @contextlib.contextmanager
    def _registered(self) -> Generator[None]:
        """Lock the registry: one process at a time."""
        self._registry.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._registry, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


class Found(NamedTuple):
    """The owners, else `why` no session gets its own user although the daemon is root."""

    owners: Owners | None
    why: str | None = None


def find_owners(home: Path, numbers: tuple[int, int] | bool, registry: Path | None = None) -> Found:
    """Test whether this machine can give each session a user. `numbers`: first and last to assign, or whether to do so
    at all. Blocks for some milliseconds."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return Found(None)
    if numbers is False:
        return Found(None, "policy.toml says so (sandbox.users)")
    chosen = _numbers() if numbers is True else numbers
    if chosen is None or not all(map(_is_mapped, chosen)):
        return Found(None, "this container's user namespace has no numbers for them")
    owners = Owners(chosen, registry or Path(os.environ.get(VARIABLE) or REGISTRY))
    try:
        why = _tried(owners, home)
    except (OSError, SandboxError) as error:
        why = str(error)
    return Found(owners if why is None else None, why)


def _tried(owners: Owners, home: Path) -> str | None:
    """Let a user make a file, and root remove it: that takes capabilities that a container may lack."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".user-", dir=home) as folder:
        place = Path(os.path.realpath(folder))
        why = fault(owners.claim(place), place, _PROGRAM)
        if why is None:
            (place / "file").unlink()
    owners.release(place)
    return why


def user_of(folder: Path) -> User | None:
    """Return the user for commands in a folder of a person: its owner. None where that is root, or a number unknown to
    this machine. Blocks for a moment."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    if status.st_uid in (0, _NOBODY):
        return None
    try:
        group = pwd.getpwuid(status.st_uid).pw_gid
    except KeyError:
        group = status.st_gid
    return User(status.st_uid, group or _NOBODY)


def give_tree(folder: Path, user: User) -> None:
    """Give the folder, and all in it down to 250 levels, to the user.

    The folder itself comes last, so that an interrupted call is repeated. Follows no link, and skips a file that has
    hard links outside of the folder: it may belong to others. Blocks, in proportion to the number of files. Raises
    `OSError`."""
    top = os.open(folder, _FOLDER)
    try:
        names: Counter[tuple[int, int]] = Counter()
        for fd in _below(top):
            status = os.fstat(fd)
            if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
                names[status.st_dev, status.st_ino] += 1
            else:
                _give(fd, status, user)
        if os.fstat(top).st_uid != user.uid:  # first time: no command runs there, so no name was counted twice
            for fd in _below(top) if names else ():
                status = os.fstat(fd)
                if names[status.st_dev, status.st_ino] == status.st_nlink:
                    _give(fd, status, user)
        _give(top, os.fstat(top), user)
    finally:
        os.close(top)


def _below(top: int) -> Iterator[int]:
    """Yield a descriptor of each entry below, valid until the next; of a link, the link's own."""
    stack = [(os.dup(top), iter(os.listdir(top)))]
    try:
        while stack:
            fd, names = stack[-1]
            if (name := next(names, None)) is None:
                os.close(stack.pop()[0])
                continue
            try:
                entry = os.open(name, _ENTRY, dir_fd=fd)
            except FileNotFoundError:  # removed meanwhile
                continue
            try:
                yield entry
                if stat.S_ISDIR(os.fstat(entry).st_mode) and len(stack) < _DEPTH:
                    below = os.open(".", _FOLDER, dir_fd=entry)
                    stack.append((below, iter(os.listdir(below))))
            finally:
                os.close(entry)
    finally:
        for fd, _ in stack:
            os.close(fd)


def _give(fd: int, status: os.stat_result, user: User) -> None:
    if (status.st_uid, status.st_gid) != user:
        os.chown(f"/proc/self/fd/{fd}", *user)  # an O_PATH descriptor can only be changed through its name


def _plain(folder: Path) -> Path:
    """Return the folder's canonical path: without links on the way to it."""
    return Path(os.path.realpath(folder.parent), folder.name)


def _has_name(number: int) -> bool:
    try:
        return bool(pwd.getpwuid(number))
    except KeyError:
        return False


def _numbers() -> tuple[int, int] | None:
    return next((each for each in (PLENTY, FEW) if all(map(_is_mapped, each))), None)


def _is_mapped(number: int) -> bool:
    """True when this user namespace maps the number, as user and as group."""
    return all(any(_within(number, line) for line in _lines(name)) for name in ("uid_map", "gid_map"))


def _within(number: int, line: str) -> bool:
    first, _, count = map(int, line.split())
    return first <= number < first + count


def _lines(name: str) -> Collection[str]:
    try:
        return Path(f"/proc/self/{name}").read_text().splitlines()
    except OSError:
        return ()
