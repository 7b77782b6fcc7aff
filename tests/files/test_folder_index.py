"""The index of a folder: it finds by words and by meaning, follows changes, and survives what may happen to it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from roost.errors import Invalid
from roost.features.files import document_worker
from roost.features.files.folder_index import FolderIndex
from roost.features.files.folder_sync import FolderSync
from roost.features.files.index_rows import Damaged, IndexRows
from roost.features.files.indexes import FileIndexes
from roost.features.files.protocols import FoundFiles, HeldTest, Piece, Text
from roost.features.files.texts import text_of
from roost.features.files.watching import Inotify
from roost.local.embed.base import Embedder
from roost.policy.rules import held_back
from roost.policy.system_rules import system_rules
from tests.files.embedder import Concepts, none

LONG = 60.0


@asynccontextmanager
async def index_of(
    root: Path, kept: Path, *, embedder: Callable[[], Embedder] = none, held: HeldTest | None = None, about: str = ""
) -> AsyncIterator[FolderIndex]:
    watch, work = Inotify(), ThreadPoolExecutor(1)
    made = FolderIndex(root, kept, read_text=text_of, watch=watch, embedder=embedder, work=work, held=held, about=about)
    fd = watch.start()
    asyncio.get_running_loop().add_reader(fd, watch.hear)
    try:
        await made.open()
        assert await made.caught_up(LONG)
        yield made
    finally:
        asyncio.get_running_loop().remove_reader(fd)
        await made.close()
        watch.close()
        work.shutdown()


async def found(index: FolderIndex, query: str, **options: object) -> list[str]:
    assert await index.caught_up(LONG)
    result: FoundFiles = await index.search(query, **options)  # type: ignore[arg-type]
    return [hit.path for hit in result.hits]


async def until_whole(index: FolderIndex, query: str) -> list[str]:
    """Search an index that may be made anew just now."""
    with contextlib.suppress(Damaged):
        return await found(index, query)
    return []


def fill(root: Path, files: dict[str, str | bytes]) -> None:
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


async def test_words_names_and_lines(root: Path, tmp_path: Path) -> None:
    fill(
        root,
        {
            "notes/garden.md": "# Garden\n\nTomatoes need water.\n\nRoses need pruning in March.\n",
            "src/parseInvoice.py": "def parse_invoice(text):\n    return text\n",
            "page.html": "<html><script>var pruning = 1</script><body>\n<p>Old roses</p></body></html>",
            "photo-of-roses.jpg": b"\xff\xd8\0\0binary",
            "中文.txt": "我们在春天修剪玫瑰",
        },
    )
    async with index_of(root, tmp_path / "kept") as index:
        result = await index.search("pruning roses")
        assert result.how == "words"
        assert "no embedding model" in (result.why or "")
        best = result.hits[0]
        assert (best.path, best.first <= 5 <= best.last) == ("notes/garden.md", True)
        assert "pruning in March" in best.snippet
        assert set(await found(index, "roses")) == {"notes/garden.md", "page.html", "photo-of-roses.jpg"}
        assert await found(index, "invoices") == ["src/parseInvoice.py"]  # another form, within a name
        assert await found(index, "玫瑰") == ["中文.txt"]
        assert await found(index, "roses", under="notes") == ["notes/garden.md"]
        assert await found(index, "var") == []  # a script of a page is no text
        with pytest.raises(Invalid):
            await index.search("  ")


def pdf(text: str) -> bytes:
    """A PDF of one page."""
    body = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(body), body),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    made = b"%PDF-1.4\n"
    places = []
    for number, part in enumerate(parts, 1):
        places.append(len(made))
        made += b"%d 0 obj%s endobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % len(made)
    return made + b"xref\n0 6\n0000000000 65535 f \n" + table + end


def docx(text: str, head: str = "") -> bytes:
    made = io.BytesIO()
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(
            "word/document.xml",
            head
            + f'<w:document xmlns:w="{word}"><w:body><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:body></w:document>',
        )
    return made.getvalue()


def test_documents() -> None:
    assert text_of("a.pdf", pdf("Invoice from May")).pieces == [Piece(1, 1, "Invoice from May")]
    assert [piece.text for piece in text_of("a.docx", docx("Invoice from June")).pieces] == ["Invoice from June"]
    late = f"<!--{' ' * 5000}--><!DOCTYPE x [<!ENTITY e 'entity'>]>"
    assert text_of("a.docx", docx("&e;", late)).why == "its text could not be read"


def test_a_document_says_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_worker, "_TEXT", 7)
    assert document_worker.pdf(pdf("Invoice from May")) == {"pages": ["Invoice"]}
    asked: dict[str, object] = {}
    monkeypatch.setattr(
        subprocess, "run", lambda *given, **more: asked.update(more) or subprocess.CompletedProcess(given, 0, b"{}")
    )
    text_of("a.pdf", b"")
    assert asked["stderr"] == subprocess.DEVNULL  # its warnings have no bound


def test_pages_of_any_shape_take_linear_time() -> None:
    page = "<p>one</p>\n<!-- hidden -->\n<STYLE>p {}</style><b>two &amp; three</b>"
    (piece,) = text_of("x.html", page.encode()).pieces
    assert (piece.first, piece.last, piece.text.split()) == (1, 3, ["one", "two", "&", "three"])
    for hostile in ("<", "<!", "<!--", "<script", "</", "&", "<a ", "<!--->"):
        text_of("x.html", (hostile * 1_000_000).encode())


async def test_meaning(root: Path, tmp_path: Path) -> None:
    fill(root, {"a.txt": "the payment is owed", "b.txt": "a trip to the beach", "c.txt": "wheels"})
    embedder = Concepts()
    async with index_of(root, tmp_path / "kept", embedder=lambda: embedder) as index:
        await index.settled()
        result = await index.search("bill")
        assert (result.how, [(hit.path, hit.by) for hit in result.hits]) == ("hybrid", [("a.txt", "meaning")])
        assert await found(index, "beach vacation") == ["b.txt"]
        asked = len(embedder.texts)
        (root / "moved").mkdir()
        os.rename(root / "a.txt", root / "moved" / "a.txt")
        assert await found(index, "bill") == ["moved/a.txt"]
        assert len(embedder.texts) == asked + 1  # the query: a text is embedded once, wherever its file goes
    async with index_of(root, tmp_path / "kept", embedder=lambda: embedder) as index:
        assert await found(index, "bill") == ["moved/a.txt"]
        assert len(embedder.texts) == asked + 2


async def test_it_follows_every_change(root: Path, tmp_path: Path) -> None:
    fill(root, {"a/one.txt": "alpha", "a/b/two.txt": "beta"})
    async with index_of(root, tmp_path / "kept") as index:
        fill(root, {"a/one.txt": "gamma", "new/deep/three.txt": "delta"})
        assert await found(index, "alpha") == []
        assert await found(index, "gamma") == ["a/one.txt"]
        assert await found(index, "delta") == ["new/deep/three.txt"]
        os.rename(root / "a", root / "z")
        assert await found(index, "beta") == ["z/b/two.txt"]
        fill(root, {"z/b/two.txt": "epsilon"})  # in a folder that was moved
        assert await found(index, "epsilon") == ["z/b/two.txt"]
        (root / "z/b/two.txt").unlink()
        (root / "z/b").rmdir()
        assert await found(index, "epsilon") == []
        os.rename(root, tmp_path / "aside")  # as a rollback does: another folder takes the place of the whole
        fill(root, {"back.txt": "zeta"})
        assert await found(index, "zeta") == ["back.txt"]
        assert await found(index, "gamma") == []
        fill(root, {"later.txt": "eta"})
        assert await found(index, "eta") == ["later.txt"]


async def test_ignore_files_and_secrets(root: Path, tmp_path: Path) -> None:
    fill(
        root,
        {
            ".gitignore": "*.log\n/build/\n!keep.log\nweird{brace}\n",
            "a.log": "needle",
            "keep.log": "needle",
            "build/out.txt": "needle",
            "sub/build/out.txt": "needle",
            "sub/.gitignore": "secret-*\n",
            "sub/secret-plans.txt": "needle",
            ".git/config": "needle",
            "node_modules/x/index.js": "needle",
            ".env": "NEEDLE=needle",
            "keys/server.pem": "needle",
            "weird{brace}": "needle",
        },
    )
    held = held_back([system_rules()], "read_file", root, str(root))
    async with index_of(root, tmp_path / "kept", held=held) as index:
        assert sorted(await found(index, "needle")) == ["keep.log", "sub/build/out.txt"]
        fill(root, {".gitignore": ""})
        assert sorted(await found(index, "needle")) == sorted(
            ["a.log", "build/out.txt", "keep.log", "sub/build/out.txt", "weird{brace}"]
        )
        stored = (tmp_path / "kept" / "index.sqlite").read_bytes()
        assert b"NEEDLE=needle" not in stored

        def no_logs(path: str) -> str | None:
            return "deny" if path.endswith(".log") else None

        assert "a.log" not in await found(index, "needle", held=[no_logs])  # a policy that came later


async def test_links_and_hostile_names(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    fill(outside, {"secret.txt": "needle"})
    fill(root, {"a.txt": "needle", "line\nbreak.txt": "needle"})
    (root / "link.txt").symlink_to(outside / "secret.txt")
    (root / "folder").symlink_to(outside)
    (root / "everything").symlink_to("/")
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"\xff\xfe.txt")).write_text("needle")
    (root / ".gitignore").write_text("*a" * 100 + "b\n[\n\\\n" + "x" * 9000 + "\n")
    (root / ("a" * 200)).write_text("needle")
    async with index_of(root, tmp_path / "kept") as index:
        assert set(await found(index, "needle")) == {"a.txt", "line\\nbreak.txt", "\\xff\\xfe.txt", "a" * 200}
        (root / "a.txt").unlink()
        (root / "a.txt").symlink_to(outside / "secret.txt")
        assert "a.txt" not in await found(index, "needle")


async def test_large_and_broken_files(root: Path, tmp_path: Path) -> None:
    with (root / "huge.txt").open("wb") as file:
        file.write(b"beginning\n")
        file.truncate(3 * 1024**3)
    fill(
        root,
        {
            "long-line.txt": "word " * 100_000,
            "broken.pdf": b"%PDF-1.7\nnonsense",
            "empty.txt": "",
            "latin.txt": "caf\xe9".encode("latin-1"),
        },
    )
    async with index_of(root, tmp_path / "kept") as index:
        assert await found(index, "huge") == ["huge.txt"]  # full of zeros: by its name
        assert await found(index, "word") == ["long-line.txt"]
        assert await found(index, "broken pdf") == ["broken.pdf"]
        status = await index.status()
        assert (status.files, status.complete) == (5, True)


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.soak)])
async def test_thousands_of_changes_at_once(root: Path, tmp_path: Path, count: int) -> None:
    async with index_of(root, tmp_path / "kept") as index:
        script = (
            f"import os\nfor n in range({count}):\n"
            " f = os.open('d%d-%d.txt' % (n % 20, n), os.O_WRONLY | os.O_CREAT)\n"
            " os.write(f, b'number %d' % n); os.close(f)"
        )
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", script], cwd=root, check=True)
        assert await index.caught_up(LONG * 2)
        assert (await found(index, "number 777"))[0] == "d17-777.txt"
        assert (await index.status()).files == count


async def test_a_damaged_index_is_made_anew(root: Path, tmp_path: Path) -> None:
    fill(root, {f"f{n}.txt": f"needle number {n}" for n in range(50)})
    kept = tmp_path / "kept"
    for damage in (b"no database", None):
        async with index_of(root, kept) as index:
            assert await found(index, "needle 7") != []
        path = kept / "index.sqlite"
        size = path.stat().st_size
        if damage is not None:
            path.write_bytes(damage * 1000)
        else:
            with path.open("r+b") as file:  # the pages of the tables, not the first one
                file.seek(4096)
                file.write(os.urandom(size - 4096))
    async with index_of(root, kept) as index:
        async with asyncio.timeout(LONG):
            while "f7.txt" not in await until_whole(index, "needle 7"):
                await asyncio.sleep(0.05)
        assert (await index.status()).files == 50


async def test_another_policy_makes_it_anew(root: Path, tmp_path: Path) -> None:
    fill(root, {"a.txt": "needle", "b.txt": "needle"})
    async with index_of(root, tmp_path / "kept", about="1") as index:
        assert await found(index, "needle") == ["a.txt", "b.txt"]

    def held(path: str) -> str | None:
        return "ask" if path.endswith("b.txt") else None

    async with index_of(root, tmp_path / "kept", held=held, about="2") as index:
        assert await found(index, "needle") == ["a.txt"]
        assert b"b.txt" not in (tmp_path / "kept" / "index.sqlite").read_bytes()


async def test_what_did_not_change_is_not_read_again(root: Path, tmp_path: Path) -> None:
    fill(root, {f"d{n % 3}/f{n}.txt": f"needle {n}" for n in range(30)})
    old = 1_700_000_000
    for path in root.rglob("*.txt"):
        os.utime(path, (old, old))
    read: list[str] = []

    def reader(name: str, data: bytes) -> object:
        read.append(name)
        return text_of(name, data)

    async def once(change: Callable[[], None]) -> Sequence[str]:
        watch, work = Inotify(), ThreadPoolExecutor(1)
        index = FolderIndex(root, tmp_path / "kept", read_text=reader, watch=watch, embedder=none, work=work)  # type: ignore[arg-type]
        await index.open()
        assert await index.caught_up(LONG)
        read.clear()
        change()
        assert await index.caught_up(LONG)
        await index.close()
        watch.close()
        work.shutdown()
        return list(read)

    assert await once(lambda: fill(root, {"d1/f1.txt": "changed"})) == ["d1/f1.txt"]
    assert await once(lambda: None) == []


def test_a_slow_document_ends_its_batch(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread serves the indexes of all accounts."""
    monkeypatch.setattr("roost.features.files.folder_sync._SLOW", -1.0)
    fill(root, {f"{n}.pdf": "slow" for n in range(3)})
    rows, watch = IndexRows(tmp_path / "kept" / "index.sqlite", ""), Inotify()
    sync = FolderSync(root, rows, lambda *_: Text([Piece(1, 1, "slow")]), watch, None, lambda: None)
    assert [len(batch.added) for batch in sync.steps() if batch.added] == [1, 1, 1]
    watch.close()
    rows.close()


async def test_an_index_whose_work_failed_is_opened_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail() -> None:
        raise OSError("no space left on device")

    indexes = FileIndexes(tmp_path / "kept", rules=tuple, embedder=none)
    try:
        first = await indexes.of(root)
        assert await first.caught_up(LONG)
        monkeypatch.setattr(first, "_turn", fail)
        fill(root, {"a.txt": "needle"})
        assert first._task is not None
        await asyncio.wait([first._task], timeout=LONG)
        assert await found(await indexes.of(root), "needle") == ["a.txt"]
    finally:
        await indexes.close()
