"""Find Unix sockets of programs outside a sandbox that lie in folders which the sandbox sees.

No namespace separates a path from the program that listens there: any process that may write to the socket's file may
connect. A filter of system calls does not see paths, and Landlock knows such sockets only from Linux 7 on. So the
sockets that are alive when a sandbox starts are covered, each by an empty file. A socket bound later is not covered; a
session with its own user (`SandboxSpec.user`) cannot connect to it unless its file is writable for all users.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from roost.errors import SandboxError

_log = logging.getLogger(__name__)

LOOKED_AT = 200_000
"""Names searched in one folder, the deepest last."""
MOST = 256
"""Most sockets that are covered: each is a mount."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def living_sockets(folders: Iterable[Path], hidden: Iterable[Path]) -> tuple[Path, ...]:
    """Find the sockets in `folders` where a program listens, except below `hidden`. A dead socket file is harmless.

    Blocks: about 1 µs for each name. In a folder of more than `LOOKED_AT` names, the rest is searched only for sockets
    that the system lists for this network namespace, and the log says so. Raises `SandboxError` when there are more
    than can be covered."""
    bound, left_out = _bound(), {os.fspath(each) for each in hidden}
    found: dict[str, None] = {}
    for folder in map(os.fspath, folders):
        found |= dict.fromkeys(_listed(folder, bound, left_out))
        for path in _sockets(folder, left_out):
            if path in bound or _listens(path):
                found[path] = None
            if len(found) > MOST:
                raise SandboxError(
                    f"programs of this machine listen on more than {MOST} Unix sockets in {folder!r}, and a sandbox"
                    " there could connect to them: stop them, or give the session another folder"
                )
    return tuple(map(Path, found))


def _listed(folder: str, bound: set[str], left_out: set[str]) -> Iterator[str]:
    """Yield those of `bound` that exist in the folder, however many names it has."""
    inside = folder.rstrip("/") + "/"
    for path in sorted(path for path in bound if path.startswith(inside)):
        if not any(path.startswith(each + "/") for each in left_out) and _is_socket(path):
            yield path


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.lstat(path).st_mode) and os.path.realpath(path) == path
    except OSError:
        return False


def _sockets(folder: str, left_out: set[str]) -> Iterator[str]:
    waiting, left = deque([folder]), LOOKED_AT
    while waiting and left > 0:
        place = waiting.popleft()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    left -= 1
                    if entry.is_dir(follow_symlinks=False):
                        if entry.path not in left_out:
                            waiting.append(entry.path)
                    elif not entry.is_file(follow_symlinks=False) and stat.S_ISSOCK(
                        entry.stat(follow_symlinks=False).st_mode
                    ):
                        yield entry.path
        except OSError:  # removed meanwhile, or not readable
            continue
    if waiting:
        _log.warning(
            "%s has more than %d names: Unix sockets that programs of other network namespaces bound in the rest of it"
            " stay within reach of the sandbox",
            folder,
            LOOKED_AT,
        )


def _bound() -> set[str]:
    """Return the paths at which programs of this network namespace listen."""
    try:
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as lines:
            return {line.split(None, 7)[7].rstrip("\n") for line in lines if line.count(" /")}
    except (OSError, IndexError):
        return set()


def _listens(path: str) -> bool:
    """True when a connection is accepted, or refused only for its socket type. The system's list lacks programs in
    containers, so this asks each socket."""
    parent, name = os.path.split(path)
    try:
        folder = os.open(parent, _FOLDER)
    except OSError:
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as end:
            end.connect(f"/proc/self/fd/{folder}/{name}")  # avoids the length limit of socket paths
        return True
    except OSError as error:
        return error.errno in (errno.EAGAIN, errno.EPROTOTYPE, errno.EINPROGRESS)
    finally:
        os.close(folder)
