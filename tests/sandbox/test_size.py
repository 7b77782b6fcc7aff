"""What a folder takes, measured while everything is done to escape it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from roost.sandbox.folder_size import Measure, Size

MB = 1024**2


def size(folder: Path, most: int = 10**6, stop: Callable[[], bool] = lambda: False) -> Size | None:
    return Measure(most=most, stop=stop).of(folder)


def allocated(*paths: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in paths)


def test_an_empty_folder_one_that_is_not_there_and_one_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert size(tmp_path / "empty") == Size(allocated(tmp_path / "empty"), 0)
    assert size(tmp_path / "none") == Size(0, 0)
    (tmp_path / "link").symlink_to("/usr")
    try:
        found = size(tmp_path / "link")
    except OSError:
        found = None
    assert found is None


def test_it_is_what_is_allocated(tmp_path: Path) -> None:
    (sub := tmp_path / "sub").mkdir()
    (sub / "full").write_bytes(os.urandom(3 * MB))
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(10**12)
    for n in range(50):
        os.link(sub / "full", tmp_path / f"again{n}")
    (sub / "small").write_bytes(b"x")
    os.link(sub / "small", sub / "small too")
    assert size(tmp_path) == Size(allocated(tmp_path, sub, sub / "full", sub / "small", tmp_path / "sparse"), 55)
    disk = subprocess.run(["du", "-s", "--block-size=1", str(tmp_path)], check=True, stdout=subprocess.PIPE)
    found = size(tmp_path)
    assert found is not None
    assert found.bytes == int(disk.stdout.split()[0])


def test_no_link_leads_out_or_round_and_round(tmp_path: Path) -> None:
    (work := tmp_path / "work").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "big").write_bytes(bytes(8 * MB))
    for name, target in (
        ("out", tmp_path / "other"),
        ("big", tmp_path / "other" / "big"),
        ("round", work),
        ("all", "/"),
    ):
        (work / name).symlink_to(target)
    found = size(work)
    assert found is not None
    assert found.files == 4
    assert found.bytes < MB


def test_a_deep_tree_with_few_descriptors(tmp_path: Path) -> None:
    program = """
import os, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from roost.sandbox.folder_size import Measure
os.chdir(sys.argv[1])
for n in range(300):
    os.mkdir("d"); open("f", "wb").write(bytes(5000)); os.mkdir("e"); os.chdir("d")
print(*Measure(most=10**6).of(Path(sys.argv[1])), len(os.listdir("/proc/self/fd")))
"""
    run = subprocess.run([sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, check=True, text=True)
    taken, files, whole, torn, descriptors = run.stdout.split()
    assert (files, whole, torn) == ("900", "True", "False")
    assert int(taken) >= 300 * 8192
    assert int(descriptors) < 10
    subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_more_than_is_counted(tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / f"{n}").touch()
    found = size(tmp_path, most=10)
    assert found is not None
    assert (found.files, found.whole) == (11, False)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 5

    assert size(tmp_path, stop=stop) is None
    assert len(asked) == 6


STORM = """
import os, sys
os.chdir(sys.argv[1])
print("on", flush=True)
while True:
    for a, b in (("a/deep", "b/deep"), ("b/deep", "a/deep"), ("a/big", "b/big"), ("b/big", "c"), ("c", "a/big")):
        try: os.rename(a, b)
        except OSError: pass
    try: os.rename("b", "x"); os.symlink("/", "b"); os.unlink("b"); os.rename("x", "b")
    except OSError: pass
"""


def test_a_storm_of_renames(tmp_path: Path) -> None:
    """Nothing counts twice, nothing outside is looked at, and most of the time all is seen."""
    (bottom := tmp_path.joinpath("a", "deep", *(["d"] * 60))).mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (bottom / "file").write_bytes(bytes(4 * MB))
    (tmp_path / "a" / "big").write_bytes(bytes(8 * MB))
    found: list[Size] = []
    with subprocess.Popen([sys.executable, "-c", STORM, str(tmp_path)], stdout=subprocess.PIPE) as storm:
        assert storm.stdout is not None
        storm.stdout.readline()
        until = time.monotonic() + 0.4
        while time.monotonic() < until or len(found) < 50:
            one = size(tmp_path)
            assert one is not None
            found.append(one)
        storm.kill()
    assert max(one.bytes for one in found) < 13 * MB
    assert max(one.files for one in found) < 90
    assert max(one.bytes for one in found) > 12 * MB
    assert len(os.listdir("/proc/self/fd")) < 200


def test_a_folder_that_is_moved_while_we_are_deep_in_it(tmp_path: Path) -> None:
    """At whichever name: what is not found any more is known to be missed."""
    middle = tmp_path.joinpath(*(["m"] * 12))
    moved = middle / "z" / "moved"
    moved.joinpath(*(["d"] * 30)).mkdir(parents=True)
    for n in range(20):
        (middle / f"s{n}").mkdir()
        (middle / f"s{n}" / "big").write_bytes(bytes(MB // 2))
    names = size(tmp_path)
    assert names is not None
    torn = 0
    for place in range(names.files):
        left = [place]

        def stop(left: list[int] = left) -> bool:
            left[0] -= 1
            if left[0] == 0:
                moved.rename(tmp_path / "away")
            return False

        one = size(tmp_path, stop=stop)
        assert one is not None
        assert one.torn or one.bytes >= 10 * MB
        torn += one.torn
        if (tmp_path / "away").exists():
            (tmp_path / "away").rename(moved)
    assert torn


def test_what_grows_while_it_is_measured(tmp_path: Path) -> None:
    """It ends, whatever is made before its feet."""
    over = threading.Event()

    def grow() -> None:
        here = tmp_path
        while not over.is_set():
            here = here / "d"
            here.mkdir()
            if len(here.parts) > 200:
                here = tmp_path / str(time.monotonic_ns())
                here.mkdir()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for _ in range(20):
            one = size(tmp_path, most=500)
            assert one is not None
            assert one.files <= 501
    finally:
        over.set()
        thread.join()
