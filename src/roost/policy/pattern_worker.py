"""Searches for patterns in texts, run as a program: requests on stdin, for each a byte on stdout, `y` or `n`.

A request is a number of seconds (a double), the sizes of the pattern and of the text (four bytes each), all in network
order, then both in UTF-8. It ends when its input does, and at a search that takes longer than the seconds.

Standard library alone, and nothing of Roost: it is started with `-I -S` to start fast.
"""

from __future__ import annotations

import os
import re
import signal
import struct
import sys

_HEAD = struct.Struct("!dII")


def main() -> None:
    source = sys.stdin.buffer
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the system ends it: a search never comes back to Python
    while len(head := source.read(_HEAD.size)) == _HEAD.size:
        seconds, *sizes = _HEAD.unpack(head)
        pattern, text = [source.read(size).decode("utf-8", "surrogatepass") for size in sizes]
        signal.setitimer(signal.ITIMER_REAL, seconds)
        found = re.search(pattern, text) is not None
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(1, b"y" if found else b"n")


if __name__ == "__main__":
    main()
