"""Test whether this machine can really run another one. A `/dev/kvm` proves nothing: where the processor has no
hardware support, or keeps it for itself, guests run ten thousand times slower or not at all. So the test runs a guest:
a loop."""

from __future__ import annotations

import fcntl
import mmap
import os
import platform
import struct
import time

_CREATE_VM, _CREATE_VCPU, _RUN, _RUN_SIZE = 0xAE01, 0xAE41, 0xAE80, 0xAE04
_SET_MEMORY, _SET_REGS, _GET_SREGS, _SET_SREGS = 0x4020AE46, 0x4090AE82, 0x8138AE83, 0x4138AE84
"""Numbers of Linux's `linux/kvm.h` on x86-64."""
_ROUNDS = 200_000
_AT = 0x1000
FIX = "use a machine with hardware virtualization (nested, if it is virtual itself), and let the daemon use /dev/kvm"
_SLOWEST = 0.01
"""Seconds. With hardware help the loop takes some 200 microseconds; emulated, 100 milliseconds to some seconds."""


def trouble() -> str | None:
    """Return the obstacle to running a guest by KVM; None when one ran. Blocks, for at most some seconds."""
    if platform.machine() != "x86_64":
        return "KVM is tried out on x86-64 only"
    try:
        seconds = _loop()
    except OSError as error:
        return f"/dev/kvm cannot be used: {error.strerror}"
    return (
        f"KVM runs guests too slowly here: {seconds * 1000:.0f} ms for a loop of 0.2 ms" if seconds > _SLOWEST else None
    )


def _loop() -> float:
    code = b"\x66\xb9" + struct.pack("<I", _ROUNDS) + b"\x66\x49\x75\xfc\xf4"  # mov ecx, n; dec ecx; jnz; hlt
    opened: list[int] = []
    try:
        opened.append(kvm := os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
        opened.append(machine := fcntl.ioctl(kvm, _CREATE_VM, 0))
        with mmap.mmap(-1, 0x2000) as memory:
            memory[_AT : _AT + len(code)] = code
            address = _address(memory)
            fcntl.ioctl(machine, _SET_MEMORY, struct.pack("<IIQQQ", 0, 0, 0, 0x2000, address))
            opened.append(processor := fcntl.ioctl(machine, _CREATE_VCPU, 0))
            with mmap.mmap(processor, fcntl.ioctl(kvm, _RUN_SIZE, 0)):
                segments = bytearray(fcntl.ioctl(processor, _GET_SREGS, bytes(312)))
                segments[0:8], segments[12:14] = bytes(8), bytes(2)  # the code's segment begins at 0
                fcntl.ioctl(processor, _SET_SREGS, bytes(segments))
                fcntl.ioctl(processor, _SET_REGS, struct.pack("<18Q", *[0] * 16, _AT, 2))
                began = time.monotonic()
                fcntl.ioctl(processor, _RUN, 0)
                return time.monotonic() - began
    finally:
        for fd in reversed(opened):
            os.close(fd)


def _address(memory: mmap.mmap) -> int:
    import ctypes

    view = ctypes.c_char.from_buffer(memory)
    try:
        return ctypes.addressof(view)
    finally:
        del view
