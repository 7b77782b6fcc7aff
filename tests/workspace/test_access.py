"""A workspace's files when the tree is hostile."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.errors import Invalid, NotFound, TooLarge
from roost.workspace.atomic_edits import Change, change
from roost.workspace.files import PathOutside, Workspace
from roost.workspace.pattern import BadPattern, matcher
from roost.workspace.safe_paths import FileRefused, WorkspaceFull, digest_of, is_binary, read_file, write_file
from roost.workspace.walk import Walk, printable
from tests.yardstick import reference_seconds


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "inside").mkdir()
    return Workspace(tmp_path / "inside", private=True)


def _names(walk: Walk) -> list[str]:
    return [entry.path for entry in walk]


def _walk(workspace: Workspace, **options: int) -> Walk:
    return Walk(workspace, workspace.root, skip=frozenset({".git"}), tool="list_files", **options)


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../outside/secret",
        "a/../../outside/secret",
        "/etc/passwd",
        "/proc/self/root/etc/passwd",
        "/proc/self/cwd",
        "//etc/passwd",
        "link/secret",
        "file",
        "loop/../../outside/secret",
        "../inside-too/x",
        "a\0b",
        "\ud800",
        "~root/../../../../../../etc/passwd",
    ],
)
def test_no_path_leads_out(workspace: Workspace, outside: Path, path: str) -> None:
    (workspace.root / "link").symlink_to(outside)
    (workspace.root / "file").symlink_to(outside / "secret")
    (workspace.root / "loop").symlink_to("loop")
    (workspace.root.parent / "inside-too").mkdir()
    with pytest.raises(PathOutside):
        workspace.resolve(path)


def test_a_folder_that_cannot_be_made_is_not_blamed_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Invalid, match="folder cannot be made: Not a directory"):
        Workspace(tmp_path / "file" / "private", private=True).resolve("a.txt")


def test_a_hidden_folder_is_as_good_as_outside(tmp_path: Path) -> None:
    home = tmp_path / "inside" / "deep" / "home"
    home.mkdir(parents=True)
    (home / "token").write_text("secret")
    (home.parent / "near").write_text("x")
    (tmp_path / "inside" / "link").symlink_to(home)
    (tmp_path / "alias").symlink_to(tmp_path / "inside")
    workspace = Workspace(tmp_path / "inside", private=False, hidden=tmp_path / "alias" / "deep" / "home")
    for path in ("deep/home", "deep/home/token", "link/token", "deep/../deep/home/new", str(home / "token")):
        with pytest.raises(PathOutside):
            workspace.resolve(path)
    assert workspace.resolve("deep/near").read_text() == "x"
    walk = Walk(workspace, workspace.root, skip=frozenset(), tool="list_files")
    assert [entry.path for entry in walk] == ["deep", "deep/home", "deep/near", "link"]


def test_links_inside_are_followed(workspace: Workspace) -> None:
    (workspace.root / "real").mkdir()
    (workspace.root / "real" / "file").write_text("hello")
    (workspace.root / "link").symlink_to("real")
    assert read_file(workspace, workspace.resolve("link/file")).data == b"hello"
    assert read_file(workspace, workspace.resolve(str(workspace.root / "link" / "file"))).data == b"hello"


def test_a_link_loop_is_refused(workspace: Workspace) -> None:
    (workspace.root / "a").symlink_to("b")
    (workspace.root / "b").symlink_to("a")
    for path in ("a", "a/x"):
        with pytest.raises(Invalid):
            read_file(workspace, workspace.resolve(path))
        with pytest.raises(Invalid):
            write_file(workspace, workspace.resolve(path), b"x", expected=None, create_folders=True)


def test_a_path_that_becomes_a_link_after_the_check_is_refused(workspace: Workspace, outside: Path) -> None:
    folder = workspace.root / "folder"
    folder.mkdir()
    (folder / "secret").write_text("mine")
    real = workspace.resolve("folder/secret")
    (folder / "secret").unlink()
    (folder / "secret").symlink_to(outside / "secret")
    with pytest.raises(Invalid):
        read_file(workspace, real)
    with pytest.raises(Invalid):
        write_file(workspace, real, b"x", expected=None)

    (folder / "secret").unlink()
    folder.rmdir()
    folder.symlink_to(outside)
    with pytest.raises(Invalid):
        read_file(workspace, real)
    with pytest.raises(Invalid):
        write_file(workspace, real, b"x", expected=digest_of(b"secret"))
    with pytest.raises(Invalid):
        list(Walk(workspace, folder, skip=frozenset(), tool="list_files"))
    assert (outside / "secret").read_text() == "secret"
    assert os.listdir(outside) == ["secret"]


def test_a_folder_swapped_all_the_time_never_leaks(workspace: Workspace, outside: Path) -> None:
    real_folder = workspace.root / "real"
    real_folder.mkdir()
    (real_folder / "secret").write_text("mine")
    name = workspace.root / "name"
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for target in (real_folder, outside):
                temporary = workspace.root / "temporary"
                temporary.symlink_to(target)
                temporary.rename(name)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        seen: set[bytes] = set()
        for _ in range(2000):
            try:
                seen.add(read_file(workspace, workspace.resolve("name/secret")).data)
            except (Invalid, NotFound):
                continue
    finally:
        stop.set()
        thread.join()
    assert seen <= {b"mine"}


def test_special_files_are_refused_at_once(workspace: Workspace) -> None:
    os.mkfifo(workspace.root / "pipe")
    (workspace.root / "folder").mkdir()
    here = os.getcwd()
    os.chdir(workspace.root)
    try:
        server = socket.socket(socket.AF_UNIX)
        server.bind("socket")
    finally:
        os.chdir(here)
    with server:
        for name in ("pipe", "folder", "socket", "."):
            with pytest.raises(FileRefused):
                read_file(workspace, workspace.resolve(name))
            with pytest.raises(FileRefused):
                write_file(workspace, workspace.resolve(name), b"x", expected=None)
    assert stat.S_ISFIFO(os.lstat(workspace.root / "pipe").st_mode)


def test_missing_and_impossible_names(workspace: Workspace) -> None:
    (workspace.root / "file").write_text("x")
    with pytest.raises(NotFound, match="does not exist"):
        read_file(workspace, workspace.resolve("no/such"))
    for path in ("file/below", "n" * 300, "d/" * 3000 + "x"):
        with pytest.raises(Invalid):
            write_file(workspace, workspace.resolve(path), b"x", expected=None, create_folders=True)


def test_sizes_are_capped(workspace: Workspace) -> None:
    with open(workspace.root / "huge", "wb") as file:
        file.truncate(10 * 1024**3)
    with pytest.raises(TooLarge):
        read_file(workspace, workspace.resolve("huge"))
    (workspace.root / "small").write_bytes(b"12345")
    assert read_file(workspace, workspace.resolve("small"), cap=5).data == b"12345"
    with pytest.raises(TooLarge):
        read_file(workspace, workspace.resolve("small"), cap=4)
    with pytest.raises(TooLarge):
        write_file(workspace, workspace.resolve("new"), bytes(17 * 1024**2), expected=None)
    assert not (workspace.root / "new").exists()


def test_writing_replaces_atomically_and_keeps_the_mode(workspace: Workspace, outside: Path) -> None:
    path = workspace.root / "script"
    path.write_text("old")
    path.chmod(0o755)
    os.link(path, outside / "hard")
    with open(path, "rb") as reader:
        digest = write_file(workspace, workspace.resolve("script"), b"new", expected=digest_of(b"old"))
        assert reader.read() == b"old"
    assert digest == digest_of(b"new")
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert (outside / "hard").read_text() == "old"
    assert os.listdir(workspace.root) == ["script"]


def test_what_is_not_as_expected_is_not_replaced(workspace: Workspace) -> None:
    path = workspace.root / "file"
    path.write_text("theirs")
    for expected in (None, digest_of(b"mine")):
        with pytest.raises(FileRefused, match="read it again"):
            write_file(workspace, workspace.resolve("file"), b"x", expected=expected)
    with pytest.raises(NotFound):
        write_file(workspace, workspace.resolve("gone"), b"x", expected=digest_of(b"mine"))
    assert path.read_text() == "theirs"
    assert os.listdir(workspace.root) == ["file"]


def test_a_failed_write_leaves_the_old_file_and_no_rest(workspace: Workspace) -> None:
    import resource
    import signal

    (workspace.root / "file").write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(FileRefused):
            write_file(workspace, workspace.resolve("file"), bytes(5000), expected=digest_of(b"old"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (workspace.root / "file").read_text() == "old"
    assert os.listdir(workspace.root) == ["file"]


def test_missing_folders_are_made(workspace: Workspace) -> None:
    write_file(workspace, workspace.resolve("a/b/c.txt"), b"x", expected=None, create_folders=True)
    assert (workspace.root / "a/b/c.txt").read_bytes() == b"x"
    with pytest.raises(NotFound):
        write_file(workspace, workspace.resolve("z/c.txt"), b"x", expected=None)


def test_binary_is_told_from_text() -> None:
    assert is_binary(b"\x7fELF\0\0")
    assert not is_binary("grün ✓".encode())
    assert not is_binary(b"")


def test_the_walk_is_sorted_bounded_and_follows_no_link(workspace: Workspace, outside: Path) -> None:
    for name in ("b/x", "a/z", "a/y", ".git/config", "c"):
        (workspace.root / name).parent.mkdir(exist_ok=True)
        (workspace.root / name).write_text(name)
    (workspace.root / "out").symlink_to(outside)
    (workspace.root / "round").symlink_to(".")
    walk = _walk(workspace)
    assert _names(walk) == [".git", "a", "a/y", "a/z", "b", "b/x", "c", "out", "round"]
    assert not walk.incomplete
    few = _walk(workspace, cap=3)
    assert len(_names(few)) == 3
    assert few.incomplete
    assert _names(_walk(workspace, depth=1)) == [".git", "a", "b", "c", "out", "round"]


def test_a_tree_deeper_than_any_path_is_survived(workspace: Workspace) -> None:
    fd = os.open(workspace.root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("deep", dir_fd=fd)
        below = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    try:
        walk = _walk(workspace)
        assert 10 < len(_names(walk)) < 100
        assert any("deeper" in what for what in walk.incomplete)
    finally:
        subprocess.run(["rm", "-rf", str(workspace.root / "deep")], check=True)  # too deep for pytest to clean up


def test_hostile_names_are_shown_on_one_line(workspace: Workspace) -> None:
    root = os.fsencode(workspace.root)
    for name in (b"new\nline", b"bad\xff", b"\x1b[31m", "ok ✓".encode()):
        with open(root + b"/" + name, "wb"):
            pass
    shown = [printable(name) for name in _names(_walk(workspace))]
    assert sorted(shown) == ["\\x1b[31m", "bad\\xff", "new\\nline", "ok ✓"]
    assert all(name.encode() for name in shown)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.py", ["a.py", ".py"], ["a/b.py", "a.pyc"]),
        ("**/*.py", ["a.py", "a/b.py", "a/b/c.py"], ["a.txt"]),
        ("src/**", ["src/a", "src/a/b", "src"], ["srcs/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["a/x/bc", "b"]),
        ("**/test_*.{js,ts}", ["test_a.js", "x/test_b.ts"], ["x/test_b.py"]),
        ("[!a]?.md", ["bc.md"], ["ab.md", "b.md"]),
        ("./docs/*", ["docs/x"], ["x"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    test = matcher(pattern)
    assert [path for path in yes + no if test(path)] == yes


@pytest.mark.parametrize("pattern", ["", "/etc/*", "../*", "a/../b", "x" * 501, "{a,b}" * 10])
def test_bad_patterns(pattern: str) -> None:
    with pytest.raises(BadPattern):
        matcher(pattern)


def test_no_pattern_is_slow() -> None:
    for pattern, path in (("*a" * 100 + "b", "a" * 255), ("**/" * 100 + "x", "/".join("a" * 200)), ("{a,b}" * 6, "c")):
        assert reference_seconds(lambda pattern=pattern, path=path: matcher(pattern)(path), tries=1) < 1


@given(st.lists(st.text("abc.", min_size=1, max_size=3).filter(lambda name: name not in (".", "..")), max_size=5))
def test_every_path_matches_itself_and_the_wide_patterns(names: list[str]) -> None:
    path = "/".join(names)
    assert matcher("**")(path)
    if names:
        assert matcher(path)(path)
        assert matcher("**/" + names[-1])(path)
        assert matcher("/".join("*" * len(names)))(path)
        assert matcher(names[0] + "/**")(path)


def test_folders_count_and_none_is_left_where_there_is_no_room(workspace: Workspace, tmp_path: Path) -> None:
    asked: list[tuple[int, int]] = []

    def full(size: int, files: int) -> str | None:
        asked.append((size, files))
        return "full" if files > 3 else None

    workspace.room = full
    with pytest.raises(WorkspaceFull):
        write_file(workspace, workspace.resolve("a/b/c/file"), b"123", expected=None, create_folders=True)
    two = [Change(workspace.resolve(path), b"1", expected=None) for path in ("a/b/one", "a/b/two")]
    with pytest.raises(WorkspaceFull):
        change(workspace, two, tmp_path / "notes")
    assert os.listdir(workspace.root) == []
    digest = write_file(workspace, workspace.resolve("a/b/file"), b"123", expected=None, create_folders=True)
    write_file(workspace, workspace.resolve("a/b/file"), b"12345", expected=digest, create_folders=True)
    write_file(workspace, workspace.resolve("a/c/file"), b"1", expected=None, create_folders=True)
    write_file(workspace, workspace.resolve("top"), b"1", expected=None, create_folders=True)
    assert asked == [(3, 4), (2, 4), (3, 3), (2, 0), (1, 2), (1, 1)]
