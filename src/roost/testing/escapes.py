"""Attempts to escape from a sandbox, run inside it: `python -I -S - SETTING < escapes.py`. Standard library only.

`python -m roost.testing.isolation` makes them at every level of this machine, and shows what each denies.

SETTING is JSON: `secret` (a file outside the workspace), `port` (where a program outside listens on 127.0.0.1),
`socket` (the name of an abstract Unix socket outside), `pid` (a process outside), `writes` (folders that must not be
writable), `homes` (of users outside), and, without an isolation boundary, `bare`. It prints JSON: for each attempt None
when it was denied, else what it got. Nothing is changed outside, even by a successful attempt: files are opened and not
written, calls have arguments that name nothing, and with `bare` each attempt has mounts of its own, and only `pid` is
traced. Each runs in a process of its own, so that none helps or hinders the next.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import platform
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_ARM = platform.machine() == "aarch64"
_NUMBERS = {  # x86-64, 64-bit Arm
    "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51),
    "pivot_root": (155, 41), "ptrace": (101, 117), "process_vm_readv": (310, 270), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "open_by_handle_at": (304, 265), "finit_module": (313, 273), "kexec_load": (246, 104), "acct": (163, 89),
    "syslog": (103, 116), "quotactl": (179, 60), "sethostname": (170, 161), "reboot": (169, 142), "swapoff": (168, 225),
    "settimeofday": (164, 170), "capset": (126, 91), "mknodat": (259, 33), "clone": (56, 220), "kcmp": (312, 272),
    "fanotify_init": (300, 262), "request_key": (249, 218), "fchmodat": (268, 53), "openat": (257, 56),
    "fchmodat2": (452, 452), "openat2": (437, 437), "setxattrat": (463, 463), "open_tree_attr": (467, 467),
    "file_getattr": (468, 468), "file_setattr": (469, 469), "newest": (511, 511),
    "io_uring_setup": (425, 425), "open_tree": (428, 428), "fsopen": (430, 430), "clone3": (435, 435),
    "pidfd_getfd": (438, 438), "mount_setattr": (442, 442),
}  # fmt: skip
_NEW_USER, _NEW_MOUNTS, _NEW_NAME = 0x10000000, 0x00020000, 0x04000000
_ours: set[int] = set()
"""Descriptors over which an attempt reports its outcome."""


def call(name: str, *arguments: Any) -> str:
    """Make a system call and return its result. Raises `OSError`."""
    number = _NUMBERS[name][_ARM]
    got = _libc.syscall(number, *[each if not isinstance(each, int) else ctypes.c_long(each) for each in arguments])
    if got < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return f"returned {got}"


def opened(path: str, flags: int = os.O_RDONLY) -> str:
    os.close(os.open(path, flags))
    return f"opened {path}"


def forked(name: str, *arguments: Any) -> str:
    """Make a call that would start a process; a new process exits at once."""
    got = call(name, *arguments)
    if got == "returned 0":
        os._exit(0)
    return got


def connected(family: int, address: Any) -> str:
    with socket.socket(family) as end:
        end.settimeout(2)
        end.connect(address)
    return f"connected to {address!r}"


def sent(address: str) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.sendto(b"x", address)
    return f"sent to {address!r}"


def made(family: int, kind: int, protocol: int = 0) -> str:
    socket.socket(family, kind, protocol).close()
    return "made the socket"


def linked(secret: str) -> str:
    os.link(secret, "stolen")
    os.unlink("stolen")
    return "made a hard link"


def by_symlink(secret: str) -> str:
    os.symlink(secret, "way")
    try:
        return opened("way")
    finally:
        os.unlink("way")


def host_seen(pid: int) -> str:
    os.kill(pid, 0)
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        said = file.read()
    if said:
        return f"sees {said[:80]!r}"
    raise OSError("nobody")


def any_of(paths: list[str], flags: int = os.O_RDONLY) -> str:
    for path in paths:
        try:
            return opened(path, flags)
        except OSError:
            continue
    raise OSError("none")


def settings(folder: str) -> list[str]:
    return [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names]


def writable(folders: list[str]) -> str:
    for folder in folders:
        try:
            os.close(os.open(os.path.join(folder, ".escape"), os.O_CREAT | os.O_WRONLY))
        except OSError:
            continue
        os.unlink(os.path.join(folder, ".escape"))
        return f"wrote in {folder}"
    raise OSError("none")


def capable() -> str:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(("CapEff", "CapPrm", "CapBnd")) and int(line.split()[1], 16):
                return line.strip()
    raise OSError("none")


def descriptors() -> str:
    """Return open descriptors other than the usual ones. A kernel may refuse to list them, so each is tried."""
    if found := [fd for fd in range(3, 4096) if fd not in _ours and is_open(fd)]:
        return str(found)
    raise OSError("none")


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def marked(make: Callable[[str], object], bits: int = 0o6000) -> str:
    """Try to make a file with the set-user-id or set-group-id bit; outside it would belong to the daemon's user."""
    try:
        make("marked")
        mode = os.stat("marked").st_mode
        if mode & bits:
            return f"made a file with mode {mode:o}"
    finally:
        if os.path.lexists("marked"):
            os.unlink("marked")
    raise OSError("the bits were dropped")


def remarked(change: Callable[[str], object]) -> str:
    def make(path: str) -> None:
        with open(path, "w"):
            change(path)

    return marked(make)


def created(flags: int, mode: int) -> Callable[[str], None]:
    return lambda path: os.close(os.open(path, flags | os.O_WRONLY, mode))


def linked_later(path: str) -> None:
    """Make a file without a name, then link it."""
    fd = os.open(".", os.O_TMPFILE | os.O_WRONLY, 0o4755)
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


def opened_by_struct(path: str) -> None:
    how = (ctypes.c_uint64 * 3)(os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    call("openat2", -100, path.encode(), how, 24)


def given_rights(path: str) -> str:
    """Try to give `cap_setuid` to all users of a file, in version 2 of the attribute."""
    rights = b"\x01\x00\x00\x02\x80" + bytes(15)
    try:
        with open(path, "w"):
            os.setxattr(path, "security.capability", rights)
            return "set capabilities"
    finally:
        os.unlink(path)


def known(name: str) -> str:
    """Try a call that must look unknown to the kernel (ENOSYS)."""
    try:
        return call(name, -1, 0, 0, 0, 0, 0)
    except OSError as error:
        if error.errno == errno.ENOSYS:
            raise
        return f"is known: {error.strerror}"


def attempts(given: dict[str, Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    yield from _files(given)
    yield from _kernel()
    yield from _others(given)


def _files(given: dict[str, Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    secret = given["secret"]
    yield "shadow", lambda: opened("/etc/shadow")
    yield "secret", lambda: opened(secret)
    yield "secret by symlink", lambda: by_symlink(secret)
    yield "secret by hard link", lambda: linked(secret)
    yield "secret by /proc/1/root", lambda: opened("/proc/1/root" + secret)
    yield "secret by /proc/self/root", lambda: opened("/proc/self/root/.." + secret)
    yield "secret by dots", lambda: opened("../" * 40 + secret.lstrip("/"))
    yield "secret by /proc/1/cwd", lambda: opened("/proc/1/cwd/.." + secret)
    yield "home", lambda: any_of([os.path.join(home, ".ssh") for home in ("/root", *given["homes"])])
    yield "foreign folders", lambda: writable(given["writes"])
    yield "core_pattern", lambda: opened("/proc/sys/kernel/core_pattern", os.O_WRONLY)
    yield "settings of the kernel", lambda: any_of(settings("/proc/sys/kernel") + settings("/proc/sys/vm"), os.O_WRONLY)
    yield "sysrq", lambda: opened("/proc/sysrq-trigger", os.O_WRONLY)
    yield "interrupts", lambda: any_of([f"/proc/irq/{n}/smp_affinity" for n in range(64)], os.O_WRONLY)
    yield "kernel memory", lambda: any_of(["/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port"])
    yield "kernel log", lambda: any_of(["/dev/kmsg", "/proc/kmsg"])
    yield "devices", lambda: any_of(["/dev/kvm", "/dev/fuse", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/loop0"])
    yield "control groups", lambda: any_of(["/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/pids/tasks"], os.O_WRONLY)
    yield "engine", lambda: any_of(["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"])
    yield "device node", lambda: call("mknodat", -100, b"disk", 0o60600, 0xFE00)
    yield "file by handle", lambda: call("open_by_handle_at", -100, ctypes.create_string_buffer(16), 0)

    yield "set-user-id by chmod", lambda: remarked(lambda path: os.chmod(path, 0o4755))
    yield "set-group-id by chmod", lambda: remarked(lambda path: os.chmod(path, 0o2755))
    yield "set-user-id by fchmod", lambda: remarked(lambda path: os.fchmod(os.open(path, os.O_RDONLY), 0o4755))
    yield "set-user-id by fchmodat", lambda: remarked(lambda path: call("fchmodat", -100, path.encode(), 0o4755))
    yield "set-user-id by fchmodat2", lambda: remarked(lambda path: call("fchmodat2", -100, path.encode(), 0o4755, 0))
    yield "set-user-id by open", lambda: marked(created(os.O_CREAT, 0o4755))
    yield "set-group-id by open", lambda: marked(created(os.O_CREAT | os.O_EXCL, 0o2755))
    yield "set-user-id by a file without a name", lambda: marked(linked_later)
    yield "set-user-id by openat2", lambda: marked(opened_by_struct)
    yield "set-user-id by creat", lambda: marked(lambda path: _libc.creat(path.encode(), 0o4755))
    yield "set-user-id by mknod", lambda: marked(lambda path: os.mknod(path, 0o104755))
    yield "set-group-id by mknodat", lambda: marked(lambda path: call("mknodat", -100, path.encode(), 0o102755, 0))
    yield "capabilities of a file", lambda: given_rights("marked")


def _kernel() -> Iterator[tuple[str, Callable[[], object]]]:
    yield "mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, 0)
    yield "remount", lambda: call("mount", b"none", b"/usr", 0, 0x20 | 0x1000, 0)
    yield "unmount", lambda: call("umount2", b"/proc/sys", 2)
    yield "fsopen", lambda: call("fsopen", b"tmpfs", 0)
    yield "open_tree", lambda: call("open_tree", -100, b"/", 1)
    yield "mount_setattr", lambda: call("mount_setattr", -100, b"/", 0, ctypes.create_string_buffer(32), 32)
    yield "pivot_root", lambda: call("pivot_root", b"/tmp", b"/tmp")
    yield "chroot", lambda: call("chroot", b"/tmp")
    yield "user namespace", lambda: call("unshare", _NEW_USER)
    yield "mount namespace", lambda: call("unshare", _NEW_MOUNTS)
    yield "user namespace by clone", lambda: forked("clone", _NEW_USER | 17, 0, 0, 0, 0)
    yield "user namespace by clone3", lambda: forked("clone3", _clone3(), 64)
    yield "setns", lambda: call("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0)
    yield "bpf", lambda: call("bpf", 0, ctypes.create_string_buffer(120), 48)
    yield "perf", lambda: call("perf_event_open", _perf(), 0, -1, -1, 0)
    yield "userfaultfd", lambda: call("userfaultfd", 1)
    yield "io_uring", lambda: call("io_uring_setup", 4, ctypes.create_string_buffer(120))
    yield "keys", lambda: call("keyctl", 0, -3, 1)
    yield "new key", lambda: call("add_key", b"user", b"x", b"y", 1, -3)
    yield "module", lambda: call("finit_module", 0, b"", 0)
    yield "kexec", lambda: call("kexec_load", 0, 0, 0, 0)
    yield "accounting", lambda: call("acct", 0)
    yield "kernel's messages", lambda: call("syslog", 3, ctypes.create_string_buffer(64), 64)
    yield "name of the machine", lambda: call("sethostname", b"x", 1)
    yield "clock", lambda: call("settimeofday", 0, ctypes.create_string_buffer(8))
    yield "swap", lambda: call("swapoff", b"/nothing")
    yield "fanotify", lambda: call("fanotify_init", 0, 0)
    yield "terminal input", lambda: fcntl.ioctl(os.openpty()[1], 0x5412, b"x")
    yield "user", lambda: os.setuid(0)
    yield "groups", lambda: os.setgroups([0])
    yield "capabilities", capable
    for name in ("open_tree_attr", "file_getattr", "file_setattr", "newest"):
        yield f"newer call: {name}", lambda name=name: known(name)
    yield "priority", lambda: os.setpriority(os.PRIO_PROCESS, 0, -10)


def _others(given: dict[str, Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    yield "process outside", lambda: host_seen(given["pid"])
    yield "trace", lambda: call("ptrace", 0, 0, 0, 0)
    yield "trace of the first", lambda: call("ptrace", 16, given["pid"] if given.get("bare") else 1, 0, 0)
    yield "memory of the first", lambda: opened("/proc/1/mem", os.O_RDWR)
    yield "environment of the first", lambda: opened("/proc/1/environ")
    yield "descriptors of the first", lambda: os.listdir("/proc/1/fd") and os.readlink("/proc/1/fd/0")
    yield "read of another's memory", lambda: call("process_vm_readv", 1, 0, 0, 0, 0, 0)
    yield "descriptor of another", lambda: call("pidfd_getfd", os.pidfd_open(1), 0, 0)
    yield "comparing kernel objects", lambda: call("kcmp", 1, os.getpid(), 0, 0, 0)
    yield "inherited descriptors", descriptors
    yield "host's loopback", lambda: connected(socket.AF_INET, ("127.0.0.1", given["port"]))
    yield "the network", lambda: connected(socket.AF_INET, ("1.1.1.1", 80))
    yield "metadata service", lambda: connected(socket.AF_INET, ("169.254.169.254", 80))
    yield "abstract socket", lambda: connected(socket.AF_UNIX, "\0" + given["socket"])
    yield "service's socket in the workspace", lambda: connected(socket.AF_UNIX, "run/service")
    yield "service's mailbox in the workspace", lambda: sent("mailbox")
    yield "raw socket", lambda: made(socket.AF_INET, socket.SOCK_RAW, 1)
    yield "packet socket", lambda: made(17, socket.SOCK_RAW, 0)
    yield "vsock", lambda: made(40, socket.SOCK_STREAM)
    yield "kernel's ciphers", lambda: made(38, socket.SOCK_SEQPACKET)


def _clone3() -> ctypes.Array[ctypes.c_uint64]:
    return (ctypes.c_uint64 * 8)(_NEW_USER, 0, 0, 0, 17, 0, 0, 0)


def _perf() -> ctypes.Array[ctypes.c_uint32]:
    return (ctypes.c_uint32 * 32)(1, 128, 1)


def outcome(attempt: Callable[[], object], *, bare: bool) -> str | None:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        _ours.update((reading, writing))
        try:
            os.write(writing, json.dumps(tried(attempt, bare=bare)).encode()[:4000])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        said = file.read()
    os.waitpid(pid, 0)
    return json.loads(said) if said else None


def tried(attempt: Callable[[], object], *, bare: bool) -> str | None:
    if bare and _libc.unshare(_NEW_MOUNTS | _NEW_NAME) == 0:
        call("mount", b"none", b"/", 0, 0x4000 | 0x40000, 0)  # private, all of it
    try:
        return str(attempt())
    except (OSError, ValueError):
        return None


def main() -> None:
    given = json.loads(sys.argv[1])
    bare = bool(given.get("bare"))
    print(json.dumps({name: outcome(attempt, bare=bare) for name, attempt in attempts(given)}))


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("{"):
        main()
    else:
        sys.exit("python -m roost.testing.isolation shows what each level of this machine holds")
