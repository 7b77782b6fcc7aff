"""`python -m bench.doors.probe HOST PORT TOKEN`: ask for the agents ten times a second until the input ends, then print
the median and the longest time, in milliseconds. A process of its own: nothing else in it delays the answers."""

from __future__ import annotations

import http.client
import statistics
import sys
import threading
import time

_SECONDS = 0.1


def main() -> None:
    host, port, token = sys.argv[1:]
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    times: list[float] = []
    while not over.wait(_SECONDS):
        began = time.monotonic()
        connection = http.client.HTTPConnection(host, int(port), timeout=60)
        connection.request("GET", "/agents", headers={"Authorization": f"Bearer {token}"})
        connection.getresponse().read()
        connection.close()
        times.append(1e3 * (time.monotonic() - began))
    sys.stdout.write(f"{statistics.median(times)} {max(times)}\n")


if __name__ == "__main__":
    main()
