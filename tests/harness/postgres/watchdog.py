"""Ends a server and removes its folder when the process that made it is gone, however it went. Run by its path, with
the server's folder as argument, so that it starts in milliseconds and imports nothing of Roost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time


def main(folder: str) -> None:
    sys.stdin.buffer.read()  # until everybody who holds the other end has closed it
    end(folder)
    volume = os.path.join(folder, "disk")
    for _ in range(50):
        if not os.path.ismount(volume) or not subprocess.run(["umount", volume], capture_output=True).returncode:
            break
        time.sleep(0.1)
    shutil.rmtree(folder, ignore_errors=True)


def end(folder: str) -> None:
    """Every process that was started for this folder, the quick way. A stopped one is woken first."""
    for number, pause in ((signal.SIGCONT, 0.0), (signal.SIGQUIT, 3.0), (signal.SIGKILL, 3.0)):
        deadline = time.monotonic() + pause
        for pid in family(folder):
            try:
                os.kill(pid, number)
            except OSError:
                pass
        while time.monotonic() < deadline and family(folder):
            time.sleep(0.02)


def family(folder: str) -> list[int]:
    """The server's first process, and its children, also those that outlived it: their titles name its folder."""
    command = ["ps", "-Awwo", "pid=,ppid=,stat=,args="]
    listing = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [line.split(None, 3) for line in listing.stdout.splitlines()]
    living = [(int(row[0]), int(row[1]), row[3]) for row in rows if len(row) == 4 and not row[2].startswith("Z")]
    name = os.path.basename(folder)
    masters = [pid for pid, _, title in living if f"{name}/" in title and "postgres" in title.split(" ")[0]]
    titled = f"postgres: {name}:"
    return masters + [pid for pid, parent, title in living if parent in masters or title.startswith(titled)]


if __name__ == "__main__":
    main(sys.argv[1])
