"""An interpreter that keeps its state. Runs as a program in the sandbox: `python_worker.py NONCE`.

A request is a line of JSON on stdin, `{"code": …}`; the reply is a line on stdout that begins with the nonce. Output of
the code, and of its child processes, is captured separately. Standard library alone.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import sys
import threading
import traceback
import types
from typing import Any

_HEAD = _TAIL = 14 * 1024
_RESULT = 10_000
_SEEN = 2000
"""Most files of the folder that are checked for changes."""
_SHOWN = 20


class Catch:
    """Captures both outputs through one pipe, for the whole life of the process."""

    def __init__(self) -> None:
        self.end = b"\0" + os.urandom(12).hex().encode() + b"\0"
        read, write = os.pipe()
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        self.head, self.tail, self.cut = b"", b"", 0
        self.over = threading.Event()
        threading.Thread(target=self.pump, args=(read,), daemon=True).start()

    def pump(self, read: int) -> None:
        last = b""
        while data := os.read(read, 65536):
            last += data
            if self.end in last:
                before, _, last = last.partition(self.end)
                self.keep(before)
                self.over.set()
            keep = len(self.end)
            self.keep(last[:-keep])
            last = last[-keep:]

    def keep(self, data: bytes) -> None:
        room = _HEAD - len(self.head)
        self.head += data[:room]
        self.tail += data[max(room, 0) :]
        self.cut += max(len(self.tail) - _TAIL, 0)
        self.tail = self.tail[-_TAIL:]

    def take(self) -> str:
        """Return the output since the last call."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # the code has closed or replaced it
                pass
        self.over.clear()
        try:
            os.write(1, self.end)
            self.over.wait(5)
        except OSError:
            pass
        middle = f"\n[... {self.cut} bytes cut ...]\n".encode() if self.cut else b""
        text = (self.head + middle + self.tail).decode("utf-8", "replace")
        self.head, self.tail, self.cut = b"", b"", 0
        return text


def run(code: str, number: int, names: dict[str, Any]) -> tuple[str | None, str | None]:
    """Run code. Returns the last expression's value as text, and the error."""
    name = f"<cell {number}>"
    linecache.cache[name] = (len(code), None, code.splitlines(keepends=True), name)
    try:
        tree = ast.parse(code, name)
        last = tree.body[-1] if tree.body else None
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, name, "exec"), names)
        if not isinstance(last, ast.Expr):
            return None, None
        value = eval(compile(ast.Expression(last.value), name, "eval"), names)
        names["_"] = value
        return None if value is None else shown(value), None
    except SystemExit as error:
        return None, f"SystemExit: {error.code} (the interpreter goes on)"
    except BaseException as error:  # any failure of the code is reported to its author
        lines = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        while lines.stack and lines.stack[0].filename == __file__:
            del lines.stack[0]
        return None, "".join(lines.format())[-_RESULT:]


def shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _RESULT else f"{text[:_RESULT]} [... {len(text) - _RESULT} characters cut ...]"


def plots(number: int) -> None:
    """Save the open figures as files, and close them."""
    pyplot: Any = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        for figure in pyplot.get_fignums():
            pyplot.figure(figure).savefig(f"plot-{number}-{figure}.png")
        pyplot.close("all")


def files() -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    with os.scandir() as entries:
        for entry in entries:
            if len(found) >= _SEEN:
                break
            if entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                found[entry.name] = status.st_mtime_ns, status.st_size
    return found


def answer(code: str, number: int, names: dict[str, Any], catch: Catch, home: str) -> dict[str, Any]:
    os.chdir(home)
    before = files()
    result, error = run(code, number, names)
    try:
        os.chdir(home)
        plots(number)
        changed = sorted(name for name, seen in files().items() if before.get(name) != seen)
    except Exception as problem:  # a drawing library failed, or the folder is gone
        changed, error = [], error or f"{type(problem).__name__}: {problem}"
    output = catch.take()
    reply = {"number": number, "output": output, "result": result, "error": error}
    return {**reply, "files": changed[:_SHOWN], "more": len(changed)}


def main() -> None:
    nonce, home = sys.argv[1], os.getcwd()
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    for stream in (requests, replies):
        os.set_inheritable(stream.fileno(), False)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    catch = Catch()
    main_module = types.ModuleType("__main__")
    sys.modules["__main__"] = main_module
    sys.argv = [""]
    sys.path.insert(0, home)
    os.environ["MPLBACKEND"] = "Agg"
    for number, line in enumerate(requests, 1):
        reply = answer(json.loads(line)["code"], number, main_module.__dict__, catch, home)
        replies.write(f"{nonce}{json.dumps(reply)}\n".encode())


if __name__ == "__main__":
    main()
