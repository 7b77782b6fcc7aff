"""Names that change their meaning between the check and the connection: a real resolver asks a real server of names.

In a network of its own, whose resolver is a server on the loopback that answers each question differently. The address
93.184.216.34 is that network's own, and so no connection leaves it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_INSIDE = r"""
import asyncio, json, socket, struct, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PUBLIC, OWN = "93.184.216.34", "127.0.0.1"
ANSWERS = {"rebinds.example": [[PUBLIC], [OWN]], "turns.example": [[OWN], [PUBLIC]],
           "both.example": [[PUBLIC, OWN]], "inner.example": [["10.1.2.3"]], "fine.example": [[PUBLIC]]}
asked, reached = {}, []

def names():
    end = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    end.bind((OWN, 53))
    while True:
        question, whom = end.recvfrom(512)
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        name, kind = ".".join(labels).lower(), struct.unpack_from("!H", question, at + 1)[0]
        rows = []
        if kind == 1 and name in ANSWERS:
            turns = ANSWERS[name]
            rows = turns[min(asked.get(name, 0), len(turns) - 1)]
            asked[name] = asked.get(name, 0) + 1
        head = question[:2] + struct.pack("!HHHHH", 0x8180 if name in ANSWERS else 0x8183, 1, len(rows), 0, 0)
        row = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) + socket.inet_aton(one) for one in rows)
        end.sendto(head + question[12 : at + 5] + row, whom)

def site(address):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            reached.append([address, self.path])
            self.send_response(200); self.send_header("Content-Type", "text/plain")
            self.send_header("Content-Length", "5"); self.end_headers(); self.wfile.write(b"hello")
        def log_message(self, *_): pass
    threading.Thread(target=ThreadingHTTPServer((address, 80), Handler).serve_forever, daemon=True).start()

async def main():
    from roost.sandbox.egress import Egress
    from roost.tools.errors import ToolError
    from roost.tools.checked_http import ask, judged
    said = {}
    egress = Egress(["*.example"])
    await egress.start(Path("s"))
    async def by_proxy(name):
        reader, writer = await asyncio.open_unix_connection("s")
        writer.write(f"GET http://{name}/proxy HTTP/1.1\r\n\r\n".encode())
        return (await reader.read()).split(b" ")[1].decode()
    async def by_fetch(name):
        try:
            addresses = await judged(name, 80)
            return (await ask("GET", f"http://{name}/fetch", addresses, cap=100)).body.decode()
        except ToolError:
            return "refused"
    for name in ANSWERS:
        for how in (by_proxy, by_fetch):
            asked.pop(name, None)
            said[f"{how.__name__} {name}"] = [await how(name), asked.get(name)]
    print(json.dumps({"said": said, "reached": reached}))

threading.Thread(target=names, daemon=True).start()
site(PUBLIC); site(OWN)
asyncio.run(main())
"""
_NETWORK = """
mount --make-rprivate / && echo nameserver 127.0.0.1 > resolv.conf &&
mount --bind resolv.conf "$(realpath /etc/resolv.conf)" &&
ip link set lo up && ip address add 93.184.216.34/32 dev lo && exec "$@"
"""


def test_a_name_is_asked_once_and_its_answer_is_what_is_reached(tmp_path: Path) -> None:
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("makes a network of its own with unshare and ip")
    own = ["unshare", "--user", "--map-root-user", "--mount", "--net", "sh", "-c", _NETWORK, "sh"]
    if subprocess.run([*own, "true"], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("this user may make no network of its own")
    argv = [*own, sys.executable, "-c", _INSIDE]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    for name in ("rebinds.example", "fine.example"):
        assert found["said"][f"by_proxy {name}"] == ["200", 1]
        assert found["said"][f"by_fetch {name}"] == ["hello", 1]
    for name in ("turns.example", "both.example", "inner.example"):
        assert found["said"][f"by_proxy {name}"][0] == "403", name
        assert found["said"][f"by_fetch {name}"][0] == "refused", name
    assert {address for address, _ in found["reached"]} == {"93.184.216.34"}
    assert len(found["reached"]) == 4
