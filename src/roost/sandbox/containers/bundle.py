"""Write the bundle of an OCI runtime: a configuration (runtime specification 1.0.2) and an empty root folder.

No image is needed. A command sees the same as in bwrap's sandboxes (`mounts.py`), expressed in the specification: the
programs of this machine to read, its own `/proc` and `/dev`, memory for `/tmp`, the workspace at its own path.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from roost.sandbox import mounts, seccomp
from roost.sandbox.backend import Bounds, SandboxSpec
from roost.sandbox.sandbox_host import SandboxHost

_MASKED = ("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
           "/proc/scsi", "/proc/sysrq-trigger", "/sys/firmware")  # fmt: skip
_READONLY = ("/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys")
_CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")
_REFUSED = (
    "acct add_key adjtimex bpf chroot clock_adjtime clock_settime create_module delete_module fanotify_init "
    "finit_module fsconfig fsmount fsopen fspick get_kernel_syms init_module io_uring_enter io_uring_register "
    "io_uring_setup ioperm iopl kcmp kexec_file_load kexec_load keyctl lookup_dcookie mbind migrate_pages modify_ldt "
    "mount mount_setattr move_mount move_pages name_to_handle_at nfsservctl open_by_handle_at open_tree "
    "perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv process_vm_writev ptrace query_module "
    "quotactl quotactl_fd reboot request_key set_mempolicy set_mempolicy_home_node setns settimeofday swapoff swapon "
    "_sysctl sysfs syslog umount umount2 unshare uselib userfaultfd ustat vhangup vserver"
).split()
"""Names of the calls that `roost.sandbox.seccomp` refuses by number. A runtime skips those it does not know."""
_MODES = ((["chmod", "fchmod", "creat", "mknod"], 1), (["fchmodat", "fchmodat2", "mknodat"], 2))
"""Calls, and the index of their mode argument."""
_NEW_NAMESPACES = 0x7E020080
_FAMILIES = (1, 2, 10, 16)


class Bundle(NamedTuple):
    """A bundle to write. `folder` is empty and gets `config.json` and `rootfs`. `view`: bwrap's arguments.

    `user`: number of the only user inside. `mapped`: use a user namespace, where this user is the daemon's user outside
    and no other user exists; else it is the user of that number outside. `gvisor`: for gVisor's kernel."""

    folder: Path
    argv: Sequence[str]
    view: Sequence[str]
    bounds: Bounds
    user: int = 1000
    user_group: int | None = None
    """By default the same number as `user`."""
    mapped: bool = True
    gvisor: bool = False
    outside: int = 0
    """The daemon's user as the runtime sees it."""
    network: bool = True
    """True for an empty network namespace of its own."""
    group: str | None = None
    """The control group that the runtime itself makes."""

    def write(self) -> None:
        """Write the bundle. Blocks."""
        root = self.folder / "rootfs"
        root.mkdir()
        mounts = [*self._own_mounts(), *self._seen(root)]
        for mount in mounts:
            _place(root, mount)
        for path, _, _ in os.walk(root):  # the user inside must pass, whatever the daemon's umask is
            os.chmod(path, 0o755)
        (self.folder / "config.json").write_text(json.dumps(self._config(root, mounts)))

    def _config(self, root: Path, mounts: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "ociVersion": "1.0.2",
            "hostname": "sandbox",
            "root": {"path": str(root), "readonly": True},
            "mounts": mounts,
            "process": {
                "terminal": False,
                "user": {"uid": self.user, "gid": self.user if self.user_group is None else self.user_group},
                "args": list(self.argv),
                "env": ["PATH=/usr/bin:/bin"],
                "cwd": "/",
                "capabilities": {name: [] for name in _CAPABILITY_SETS},
                "noNewPrivileges": True,
                "rlimits": self._rlimits(),
            },
            "linux": self._linux(),
        }

    def _rlimits(self) -> list[dict[str, Any]]:
        limits = [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]
        if self.gvisor and self.bounds.pids is not None:
            limits.append({"type": "RLIMIT_NPROC", "soft": self.bounds.pids, "hard": self.bounds.pids})
        return limits

    def _linux(self) -> dict[str, Any]:
        kinds = ["pid", "ipc", "uts", "mount", *(["network"] if self.network else [])]
        linux: dict[str, Any] = {"maskedPaths": _MASKED, "readonlyPaths": _READONLY}
        if self.mapped:
            kinds.append("user")
            mapping = [{"containerID": self.user, "hostID": self.outside, "size": 1}]
            linux["uidMappings"] = linux["gidMappings"] = mapping
        if self.group is not None:
            linux["cgroupsPath"] = self.group
        if not self.gvisor:
            kinds.append("cgroup")
        linux["seccomp"] = _filter_in_gvisor() if self.gvisor else system_calls()
        return {**linux, "namespaces": [{"type": kind} for kind in kinds]}

    def _own_mounts(self) -> list[dict[str, Any]]:
        size = "" if self.bounds.disk_bytes is None else f"size={self.bounds.disk_bytes}"
        made = [_mount("/proc", "proc", "nosuid", "noexec", "nodev")]
        if not self.gvisor:
            made += [
                _mount("/dev", "tmpfs", "nosuid", "noexec", "strictatime", "mode=755", "size=64k"),
                _mount("/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"),
                _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777", size),
            ]
        return [*made, _mount("/tmp", "tmpfs", "nosuid", "nodev", "mode=1777", size)]

    def _seen(self, root: Path) -> list[dict[str, Any]]:
        """Return the mounts of the view, and make its links. Mounts below `/proc` are the runtime's own task."""
        made: list[dict[str, Any]] = []
        for word, source, target in mounts.steps(self.view):
            match word:
                case "--symlink":
                    _link(root, source, target)
                case "--ro-bind" | "--bind":
                    how = ("rbind", "rw" if word == "--bind" else "ro", "nosuid", "nodev", "rprivate")
                    if not target.startswith("/proc/"):
                        made.append({**_mount(target, "bind", *how), "source": source})
                case "--tmpfs":
                    made.append(_mount(target, "tmpfs", "nosuid", "nodev", "mode=0500", "size=4096"))
                case "--proc" | "--dev" | "--perms" | "--size":
                    pass
                case _:
                    raise AssertionError(f"the view says {word!r}, which no OCI runtime is told yet")
        return made


def view(spec: SandboxSpec, body: SandboxHost, *, sockets: bool = True) -> list[str]:
    """Return a container's view as bwrap's arguments. `sockets`: it could connect to Unix sockets of this machine."""
    covered = spec.sockets if sockets else ()
    args = [*mounts.system(), *mounts.folders(spec.workspace, spec.reads, spec.hidden, covered)]
    args += mounts.agent()
    if spec.network.open:
        for name in ("/etc/resolv.conf", "/etc/hosts"):
            if os.path.exists(name):
                args += ["--ro-bind", os.path.realpath(name), name]
    if body.door is not None and sockets:
        args += ["--bind", str(body.door.parent), mounts.NET]
    return args


def _mount(target: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": target, "source": kind, "type": kind, "options": [each for each in options if each]}


def _link(root: Path, source: str, target: str) -> None:
    place = root / target.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(source)


def _place(root: Path, mount: dict[str, Any]) -> None:
    """Make the mount point, unless it lies on an earlier mount."""
    target = root / mount["destination"].lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if mount["type"] == "bind" and not os.path.isdir(mount["source"]):
        target.touch()
    else:
        target.mkdir(exist_ok=True)


def _refuse(names: Sequence[str], number: int, *args: dict[str, Any]) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ERRNO", "errnoRet": number, "args": list(args)}


def _arg(index: int, op: str, value: int, other: int = 0) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": other, "op": f"SCMP_CMP_{op}"}


def _bits(mask: int) -> list[int]:
    return [1 << bit for bit in range(32) if mask >> bit & 1]


def _bit(index: int, bit: int) -> dict[str, Any]:
    """A rule's condition: the argument has the bit."""
    return _arg(index, "MASKED_EQ", bit, bit)


def system_calls() -> dict[str, Any]:
    """Express the rules of `roost.sandbox.seccomp` in the specification, except calls newer than its list: a runtime
    can only name calls that it knows. So the agent adds the filter itself before it runs a command."""
    families = [_arg(0, "EQ", each) for each in range(17) if each not in _FAMILIES]
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": [],
        "syscalls": [
            _refuse(_REFUSED, errno.EPERM),
            _refuse(["clone3", "openat2"], errno.ENOSYS),
            *(
                _refuse(calls, errno.EPERM, _bit(place, bit))
                for calls, place in _MODES
                for bit in _bits(seccomp.SET_ID)
            ),
            *(
                _refuse([call], errno.EPERM, _bit(mode - 1, created), _bit(mode, bit))
                for call, mode in (("open", 2), ("openat", 3))
                for created in _bits(seccomp.CREATES)
                for bit in _bits(seccomp.SET_ID)
            ),
            *(_refuse(["clone"], errno.EPERM, _bit(0, bit)) for bit in _bits(_NEW_NAMESPACES)),
            *(_refuse(["ioctl"], errno.EPERM, _arg(1, "MASKED_EQ", 0xFFFFFFFF, each)) for each in (0x5412, 0x541C)),
            *(_refuse(["socket"], errno.EAFNOSUPPORT, each) for each in (*families, _arg(0, "GT", 16))),
        ],
    }


def _filter_in_gvisor() -> dict[str, Any]:
    """Return the rules for gVisor. It cannot return another number than EPERM; a call with the action TRACE and no
    tracer looks missing. And its first process, unlike Linux's, can be killed from inside, so such signals are
    refused."""
    made = system_calls()
    for rule in made["syscalls"]:
        if rule["errnoRet"] == errno.ENOSYS:
            rule["action"] = "SCMP_ACT_TRACE"
    everybody = [_arg(0, "MASKED_EQ", 0xFFFFFFFF, each) for each in (1, 0xFFFFFFFF)]
    made["syscalls"] += [_refuse(["kill"], errno.EPERM, each) for each in everybody]
    made["syscalls"].append(
        _refuse(["tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"], errno.EPERM, everybody[0])
    )
    return made
