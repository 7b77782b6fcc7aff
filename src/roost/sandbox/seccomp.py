"""The system calls that a sandbox refuses, as a program for the kernel's filter (seccomp). No library is needed.

Refused are calls that reach rare and privileged parts of the kernel: namespaces, mounts, modules, tracing of others,
io_uring, bpf, userfaultfd, keys, clocks, and the input queue of terminals. Refused are also modes with the set-user-id
or set-group-id bit: files of a workspace belong to the daemon's user outside, so such a file would grant that user's
rights. Calls of ordinary programs are allowed. Calls that are newer than this list get ENOSYS, as on an older kernel;
so do `openat2` and `clone3`, which hide their arguments behind a pointer. Numbers are those of Linux's `unistd.h`
(x86-64 and the generic table that 64-bit Arm uses); the encoding is classic BPF over `struct seccomp_data`.
"""

from __future__ import annotations

import errno
import platform
import struct
from typing import NamedTuple

_NEWEST = 466
_X32 = 0x40000000
_SAME_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 450)
"""io_uring_setup/enter/register, open_tree, move_mount, fsopen, fsconfig, fsmount, fspick, pidfd_getfd,
process_madvise, mount_setattr, quotactl_fd, set_mempolicy_home_node."""
_X86_64 = {
    "acct": 163, "add_key": 248, "adjtimex": 159, "bpf": 321, "chroot": 161, "clock_adjtime": 305,
    "clock_settime": 227, "create_module": 174, "delete_module": 176, "fanotify_init": 300, "finit_module": 313,
    "get_kernel_syms": 177, "init_module": 175, "ioperm": 173, "iopl": 172, "kcmp": 312, "kexec_file_load": 320,
    "kexec_load": 246, "keyctl": 250, "lookup_dcookie": 212, "mbind": 237, "migrate_pages": 256, "modify_ldt": 154,
    "mount": 165, "move_pages": 279, "name_to_handle_at": 303, "nfsservctl": 180, "open_by_handle_at": 304,
    "perf_event_open": 298, "pivot_root": 155, "process_vm_readv": 310, "process_vm_writev": 311, "ptrace": 101,
    "query_module": 178, "quotactl": 179, "reboot": 169, "request_key": 249, "set_mempolicy": 238, "setns": 308,
    "settimeofday": 164, "swapoff": 168, "swapon": 167, "sysctl": 156, "sysfs": 139, "syslog": 103, "umount2": 166,
    "unshare": 272, "uselib": 134, "userfaultfd": 323, "ustat": 136, "vhangup": 153, "vserver": 236,
}  # fmt: skip
_AARCH64 = {
    "acct": 89, "add_key": 217, "adjtimex": 171, "bpf": 280, "chroot": 51, "clock_adjtime": 266, "clock_settime": 112,
    "delete_module": 106, "fanotify_init": 262, "finit_module": 273, "init_module": 105, "kcmp": 272,
    "kexec_file_load": 294, "kexec_load": 104, "keyctl": 219, "lookup_dcookie": 18, "mbind": 235, "migrate_pages": 238,
    "mount": 40, "move_pages": 239, "name_to_handle_at": 264, "nfsservctl": 42, "open_by_handle_at": 265,
    "perf_event_open": 241, "pivot_root": 41, "process_vm_readv": 270, "process_vm_writev": 271, "ptrace": 117,
    "quotactl": 60, "reboot": 142, "request_key": 218, "set_mempolicy": 237, "setns": 268, "settimeofday": 170,
    "swapoff": 225, "swapon": 224, "syslog": 116, "umount2": 39, "unshare": 97, "userfaultfd": 282, "vhangup": 58,
}  # fmt: skip


class _Machine(NamedTuple):
    """`modes`: number of a call, and the index of its mode argument. `opens`: number of a call, and the indexes of its
    flags and its mode; the mode only counts with certain flags."""

    audit: int
    refused: dict[str, int]
    clone: int
    ioctl: int
    socket: int
    modes: tuple[tuple[int, int], ...]
    opens: tuple[tuple[int, int, int], ...]


_MACHINES = {
    "x86_64": _Machine(
        0xC000003E, _X86_64, 56, 16, 41,
        ((85, 1), (90, 1), (91, 1), (133, 1), (259, 2), (268, 2), (452, 2)),
        ((2, 1, 2), (257, 2, 3)),
    ),
    "aarch64": _Machine(0xC00000B7, _AARCH64, 220, 29, 198, ((33, 2), (52, 1), (53, 2), (452, 2)), ((56, 2, 3),)),
}  # fmt: skip
"""With a mode: creat, chmod, fchmod, mknod, mknodat, fchmodat, fchmodat2. With flags and a mode: open, openat."""
_HIDING = (435, 437)
"""clone3 and openat2, whose arguments a filter cannot see."""
SET_ID = 0o6000
CREATES = 0x400040
"""O_CREAT and the bit that O_TMPFILE adds to O_DIRECTORY."""
_NEW_NAMESPACES = 0x7E020080
"""CLONE_NEW* of clone's flags."""
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10, 16)
"""Unix, IPv4, IPv6, netlink. Others are refused: no network namespace contains vsock, and the rest is rarely used."""

_LD, _JEQ, _JGT, _JGE, _JSET, _RET = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_NR, _ARCH, _ARGS = 0, 4, 16


def supported() -> bool:
    return platform.machine() in _MACHINES


def program(machine: str | None = None) -> bytes:
    """Make the filter, as the bytes of `struct sock_filter[]`. Raises `ValueError` for a machine without a list."""
    name = machine or platform.machine()
    if name not in _MACHINES:
        raise ValueError(f"there is no list of system calls for {name!r}; known are {', '.join(_MACHINES)}")
    own = _MACHINES[name]
    steps = [_op(_LD, _ARCH), _op(_JEQ, own.audit, 1, 0), _op(_RET, _KILL), _op(_LD, _NR)]
    steps += [_op(_JGE, _X32, 0, 1), _refuse(errno.ENOSYS), _op(_JGT, _NEWEST, 0, 1), _refuse(errno.ENOSYS)]
    steps += _any(_HIDING, _refuse(errno.ENOSYS))
    for number in sorted({*own.refused.values(), *_SAME_EVERYWHERE}):
        steps += [_op(_JEQ, number, 0, 1), _refuse(errno.EPERM)]
    set_id = [_op(_JSET, SET_ID, 0, 1), _refuse(errno.EPERM)]
    for number, mode in own.modes:
        steps += _if(number, [_argument(mode), *set_id])
    for number, flags, mode in own.opens:
        steps += _if(number, [_argument(flags), _op(_JSET, CREATES, 0, 3), _argument(mode), *set_id])
    steps += _if(own.clone, [_argument(0), _op(_JSET, _NEW_NAMESPACES, 0, 1), _refuse(errno.EPERM)])
    steps += _if(own.ioctl, [_argument(1), *_any((_TIOCSTI, _TIOCLINUX), _refuse(errno.EPERM))])
    families = _any(_FAMILIES, _op(_RET, _ALLOW))
    steps += _if(own.socket, [_argument(0), *families, _refuse(errno.EAFNOSUPPORT)])
    return b"".join([*steps, _op(_RET, _ALLOW)])


def _op(code: int, k: int, true: int = 0, false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, true, false, k)


def _argument(place: int) -> bytes:
    """Load the lower half of an argument."""
    return _op(_LD, _ARGS + 8 * place)


def _refuse(number: int) -> bytes:
    return _op(_RET, _ERRNO | number)


def _any(values: tuple[int, ...], then: bytes) -> list[bytes]:
    return [step for value in values for step in (_op(_JEQ, value, 0, 1), then)]


def _if(number: int, then: list[bytes]) -> list[bytes]:
    """Return the steps for one call; they decide about it."""
    return [_op(_JEQ, number, 0, len(then) + 1), *then, _op(_RET, _ALLOW)]
