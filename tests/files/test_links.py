"""Links over HTTP: downloads without a token, ranges, and headers under which nothing runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from roost.features.files.librarian import librarian
from tests.server.conftest import Answer, Serve, Served, ask
from tests.server.conftest import serve as serve

DATA = bytes(range(256)) * 40_000
"""More than two chunks."""


@pytest.fixture
def served(serve: Serve, tmp_path: Path) -> Iterator[Served]:
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / 'a "b" ü.html').write_bytes(DATA)
    (tmp_path / "papers" / "empty.txt").write_bytes(b"")
    made = serve(agents=[librarian()])
    assert made.request("PUT", "/file-spaces/papers", {"folder": str(tmp_path / "papers")}).status == 200
    return made


def plain(served: Served, method: str, path: str, **headers: str) -> Answer:
    """A request of somebody who has nothing but the link."""
    connection = served.connect()
    try:
        return ask(connection, method, path, None, headers=headers)
    finally:
        connection.close()


def share(served: Served, path: str) -> tuple[str, str]:
    answer = served.post("/file-shares", {"where": "space:papers", "path": path, "seconds": 600})
    assert answer.status == 201, answer
    return answer.json["link"], answer.json["id"]


def test_a_link(served: Served) -> None:
    link, id = share(served, 'a "b" ü.html')
    whole = plain(served, "GET", link)
    assert (whole.status, whole.body) == (200, DATA)
    headers = {name.lower(): value for name, value in whole.headers.items()}
    assert headers["content-type"] == "application/octet-stream"
    assert headers["content-disposition"].startswith("attachment; filename=\"a _b_ _.html\"; filename*=UTF-8''a%20")
    assert "sandbox" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    head = plain(served, "HEAD", link)
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(DATA)), b"")
    begin = 4 * 1024 * 1024 - 3  # over the end of a chunk
    for wanted, part in (
        (f"bytes={begin}-{begin + 9}", DATA[begin : begin + 10]),
        (f"bytes={len(DATA) - 5}-", DATA[-5:]),
        ("bytes=-7", DATA[-7:]),
        (f"bytes=0-{10**14}", DATA),
    ):
        answer = plain(served, "GET", link, Range=wanted)
        assert (answer.status, answer.body) == (206, part), wanted
    noted = [row["what"] for row in served.get("/audit")["entries"]]
    assert noted.count("file.download") == 5  # of a part, too: all but the first byte is no way around it
    for wanted in ("bytes=5-2", "bytes=-", "lines=1-2", "bytes=1-2,5-6"):  # no range that is known: the whole
        assert plain(served, "GET", link, Range=wanted).status == 200
    assert plain(served, "GET", link, Range=f"bytes={len(DATA)}-").status == 416
    assert plain(served, "GET", link, Range="bytes=0-1", If_Range='"another"').status in (200, 206)
    assert plain(served, "POST", link).status == 405
    (token,) = [part for part in link.split("/") if "." in part][:1]
    for forged in ("/shared/x/y", f"/shared/{token[:-1]}{'0' if token[-1] != '0' else '1'}/y", "/shared/", "/shared"):
        assert plain(served, "GET", forged).status in (401, 404), forged
    assert plain(served, "GET", "/file-shares").status == 401
    assert served.request("DELETE", f"/file-shares/{id}").status == 200
    gone = plain(served, "GET", link)
    assert (gone.status, b"does not hold" in gone.body) == (404, True)
    empty, _ = share(served, "empty.txt")
    assert (plain(served, "GET", empty).status, plain(served, "GET", empty).body) == (200, b"")


def test_search_over_http(served: Served, tmp_path: Path) -> None:
    (tmp_path / "papers" / "may.txt").write_text("The invoice from May")
    found = served.get("/files/search?where=space:papers&query=invoices")
    assert [(hit["path"], hit["by"]) for hit in found["hits"]] == [("may.txt", "words")]
    assert found["how"] == "words"
    answer = served.request("PUT", "/files/content?where=space:papers&path=new%2Fx.txt", raw=b"hello")
    assert answer.status == 200, answer
    assert served.request("GET", "/files/content?where=space:papers&path=new%2Fx.txt").body == b"hello"
    assert served.request("GET", "/files/content?where=space:papers&path=..%2F..%2Ftoken").status in (400, 403, 422)
    assert served.get("/files/index?where=space:papers")["files"] == 4
