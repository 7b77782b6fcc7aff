"""Worker program that searches patterns in texts: requests on stdin, one byte `y` or `n` on stdout for each.

A request is a time limit in seconds (a double), the sizes of pattern and text (four bytes each), all in network order,
then both in UTF-8. The program ends with its input, and when a search exceeds its limit.

It uses the standard library alone, without Roost, and is started with `-I -S` to start fast.
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
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel kills it: a running search never returns to Python
    while len(head := source.read(_HEAD.size)) == _HEAD.size:
        seconds, *sizes = _HEAD.unpack(head)
        pattern, text = [source.read(size).decode("utf-8", "surrogatepass") for size in sizes]
        signal.setitimer(signal.ITIMER_REAL, seconds)
        found = re.search(pattern, text) is not None
        signal.setitimer(signal.ITIMER_REAL, 0)
        os.write(1, b"y" if found else b"n")


if __name__ == "__main__":
    main()
