"""Keep the head and the tail of a stream of any length in bounded memory."""

from __future__ import annotations


class HeadTail:
    """Accepts any number of bytes and holds at most about `cap`: the first half and the last half."""

    def __init__(self, cap: int) -> None:
        self._head_cap = cap // 2
        self._tail_cap = cap - self._head_cap
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, data: bytes) -> None:
        self.total += len(data)
        room = self._head_cap - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        self._tail += data[-self._tail_cap :] if self._tail_cap else b""
        if len(self._tail) > 2 * self._tail_cap + 65536:
            del self._tail[: -self._tail_cap]

    def skip(self, count: int) -> None:
        """Count `count` bytes that the sender left out here."""
        if count:
            self.total += count
            self._tail.clear()

    @property
    def truncated(self) -> bool:
        return self.total > self._head_cap + self._tail_cap

    def text(self) -> str:
        """Return UTF-8 with replacement. When bytes were cut, a line in the middle says how many; no character is
        broken at the cut."""
        if not self.truncated:
            return (self._head + self._tail).decode("utf-8", "replace")
        head = _whole_end(bytes(self._head))
        tail = _whole_start(bytes(self._tail[-self._tail_cap :]))
        cut = self.total - len(head) - len(tail)
        return f"{head.decode('utf-8', 'replace')}\n[... {cut} bytes cut ...]\n{tail.decode('utf-8', 'replace')}"


def _whole_end(data: bytes) -> bytes:
    """Return `data` without an incomplete character at its end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if length > back else data
        if byte < 0x80:
            break
    return data


def _whole_start(data: bytes) -> bytes:
    """Return `data` without the remaining bytes of a character that began earlier."""
    start = 0
    while start < min(3, len(data)) and 0x80 <= data[start] < 0xC0:
        start += 1
    return data[start:]
