"""Archives of strangers: nothing lands outside, nothing means two things, nothing fills the memory."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.features.packages.archive import (
    MOST_BYTES,
    MOST_FILES,
    PackageFile,
    PackageRefused,
    checked_path,
    digest_of,
    pack,
    read_folder,
    unpack,
    write_folder,
)


def tar(*entries: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w") as made:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                made.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                made.addfile(info, io.BytesIO(entry[1]))
    return gzip.compress(inner.getvalue())


def special(name: str, kind: bytes, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def zipped(*entries: tuple[str, bytes], mode: int = 0o100644) -> bytes:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as made:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            made.writestr(info, data)
    return inner.getvalue()


PATHS = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "a//b",
    "a/./b",
    "C:/x",
    "a\\..\\x",
    "a\0b",
    "a\nb",
    "a\u202eb",
    "a/ b",
    "a./b",
    "con.txt",
    "a/NUL",
    ".git/hooks/post-checkout",
    "a/.GIT/config",
    "x" * 300,
    "/".join("a" * 20),
    "a:stream",
    "",
    ".",
    "..",
]


@pytest.mark.parametrize("path", PATHS)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(PackageRefused):
        checked_path(path)
    if path and "\0" not in path and not path.endswith(("/", "..")):
        with pytest.raises(PackageRefused):
            unpack(tar((path, b"x"), ("ok", b"x")))
    if path and not {"\0", "\\"} & {*path}:
        with pytest.raises(PackageRefused):
            unpack(zipped((path, b"x"), ("ok", b"x")))


HOSTILE = {
    "a link": tar(special("a", tarfile.SYMTYPE, "/etc/passwd")),
    "a hard link": tar(("b", b"x"), special("a", tarfile.LNKTYPE, "../../b")),
    "a device": tar(special("a", tarfile.CHRTYPE)),
    "a pipe": tar(special("a", tarfile.FIFOTYPE)),
    "a link of a zip": zipped(("a", b"/etc/passwd"), mode=0o120777),
    "two cases": tar(("skills/A.md", b"x"), ("skills/a.md", b"x")),
    "two forms of a letter": tar(("\u00e9", b"x"), ("e\u0301", b"x")),
    "two folders": tar(("Skills/a", b"x"), ("skills/b", b"x")),
    "a file and a folder": tar(("a", b"x"), ("a/b", b"x")),
    "a folder and a file": tar(("a/b", b"x"), ("a", b"x")),
    "twice": tar(("a", b"x"), ("a", b"y")),
    "twice in a zip": zipped(("a", b"x"), ("b", b"y")).replace(b"b", b"a"),
    "no archive": b"hello",
    "nothing": b"",
    "cut": tar(("a", b"x" * 10_000))[:60],
    "cut within": gzip.compress(gzip.decompress(tar(("a", b"x" * 10_000)))[:5_000]),
    "many files": tar(*((f"f{n}", b"") for n in range(MOST_FILES + 1))),
    "many files of a zip": zipped(*((f"f{n}", b"") for n in range(MOST_FILES + 1))),
    "damaged": b"\x1f\x8b" + b"\0" * 100,
    "a damaged zip": b"PK\3\4" + b"\0" * 100,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused(what: str) -> None:
    with pytest.raises(PackageRefused):
        unpack(HOSTILE[what])


@pytest.mark.parametrize("kind", ["tar", "zip", "headers"])
def test_a_bomb_ends_at_the_bound(kind: str) -> None:
    if kind == "zip":
        data = zipped(("a", b"\0" * (MOST_BYTES + 10)))
    elif kind == "tar":
        engine = zlib.compressobj(wbits=31)
        data = b"".join(engine.compress(b"\0" * (1 << 20)) for _ in range(80)) + engine.flush()
    else:  # one file that claims to be larger than the archive
        info = tarfile.TarInfo("a")
        info.size = 1 << 40
        data = gzip.compress(info.tobuf() + b"\0" * 1024)
    assert len(data) < 1 << 20
    with pytest.raises(PackageRefused):
        unpack(data)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    for head in (b"", b"\x1f\x8b\x08", b"PK\x03\x04"):
        with pytest.raises(PackageRefused):
            unpack(head + data)


def test_an_archive_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    files = {"b/c.txt": PackageFile(b"1"), "a.sh": PackageFile(b"2", run=True)}
    data = pack(files)
    assert data == pack(dict(reversed(files.items())))
    assert unpack(data) == files
    write_folder(files, tmp_path / "out")
    assert read_folder(tmp_path / "out") == files
    assert digest_of(files) != digest_of({**files, "a.sh": PackageFile(b"2")})


def test_the_folder_of_a_repository_is_left_out() -> None:
    assert unpack(tar(("repo-1.0/SKILL.md", b"x"), ("repo-1.0/a/b", b"y"))).keys() == {"SKILL.md", "a/b"}
    assert unpack(tar(("skills/a/SKILL.md", b"x"))).keys() == {"skills/a/SKILL.md"}


def test_a_folder_with_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    os.symlink("/etc/passwd", tmp_path / "link")
    with pytest.raises(PackageRefused, match="link"):
        read_folder(tmp_path)
