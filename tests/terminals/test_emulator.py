"""The emulation of a terminal: real programs and random sequences, compared with pyte and with itself."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import select
import shutil
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pyte
import pytest

from roost.features.terminals import bulk
from roost.features.terminals.emulator import Emulator
from roost.features.terminals.lines import RawLine
from roost.features.terminals.queries import Stream
from roost.features.terminals.redraw import above, drawing, snapshot
from roost.features.terminals.screen import SCROLLBACK, Screen

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)
ROOT = Path(__file__).parents[2]
_PAUSE = 0.7
_SHELL = "timeout 20 bash --norc"  # so that tmux's server ends by itself
PROGRAMS: dict[str, tuple[Sequence[str], Sequence[bytes]]] = {
    "vim": (
        ["vim", "-n", "-u", "NONE", "-N", "DESIGN.md"],
        [b"\x06", b"/Session\r", b"ihello \x1b", b"dd", b":set nu\r", b":vsplit\r", b"O\xe4\xb8\xad\xe6\x96\x87x\x1b"],
    ),
    "less": (["less", "DESIGN.md"], [b" ", b"/log\r", b"b", b"jjj", b"G", b"kkkk"]),
    "top": (["top", "-d", "0.5"], [b"c", b"1"]),
    "htop": (["htop", "-d", "5"], [b"t", b"\x1b[B", b"H"]),
    "tmux": (
        ["tmux", "-L", "roost-test", "-f", "/dev/null", "new", _SHELL, ";", "set", "-g", "default-command", _SHELL],
        [b"ls /\r", b"\x02%", b"echo two\r", b"\x02o", b"\x02z"],
    ),
    "git": (["git", "-c", "color.ui=always", "-c", "core.pager=less -R", "log", "--stat", "-5"], [b" ", b"b"]),
    "bash": (
        ["bash", "--norc"],
        [b"for i in 1 2 3; do printf 'at %d%%\\r' $i; done; echo\r", b"ls --color /bin\r", b"a" * 170 + b"\x01b\x05c"],
    ),
    "bar": (["sh", "-c", 'i=0; while [ $i -lt 40 ]; do i=$((i+1)); printf "\\r[%-40s]" $(seq -s = $i); done'], []),
}


def output_of(argv: Sequence[str], keys: Sequence[bytes]) -> bytes:
    """What a program writes to a terminal of 80 columns and 24 rows, without questions."""
    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    take = 'exec <>"$0" >&0 2>&1; exec "$@"'
    process = subprocess.Popen(
        ["sh", "-c", take, os.ttyname(theirs), *argv], env=environment, cwd=ROOT, start_new_session=True
    )
    stream, emulator, out = Stream(), Emulator(80, 24, lambda data: _ignoring(ours, data)), b""
    for key in (*keys, b""):
        end = time.monotonic() + (_PAUSE if out else 30.0)
        while (left := end - time.monotonic()) > 0 and select.select([ours], [], [], left)[0]:
            end = min(end, time.monotonic() + _PAUSE)
            inside, shown = stream.take(os.read(ours, 65536))
            emulator.feed(inside)
            out += shown
        _ignoring(ours, key)
    process.kill()
    process.wait()
    os.close(ours)
    os.close(theirs)
    return out


def _ignoring(fd: int, data: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(fd, data)


def fed(data: bytes, columns: int = 80, rows: int = 24, *, pieces: int = 0) -> Emulator:
    screen, stream = Emulator(columns, rows), Stream()
    for at in range(0, len(data), pieces or len(data) or 1):
        screen.feed(stream.take(data[at : at + (pieces or len(data))])[0])
    return screen


def text(screen: Emulator) -> list[str]:
    return [row.text for row in screen.lines]


def whole(screen: Emulator) -> object:
    """All that can be seen of a screen."""
    rows = [*above(screen, 5000), *screen.lines]
    return [(row.text, list(row.runs())) for row in rows], screen.x, screen.y, screen.style, screen.alternate


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_screen_of_a_real_program_is_that_of_pyte(name: str) -> None:
    argv, keys = PROGRAMS[name]
    if shutil.which(argv[0]) is None:
        pytest.skip(f"there is no {argv[0]} here")
    data = output_of(argv, keys)
    screen, reference = fed(data), pyte.Screen(80, 24)
    with contextlib.suppress(TypeError):  # vim's request for key reports, which pyte takes for colours
        pyte.ByteStream(reference).feed(data.replace(b"\x1b[>4;2m", b"").replace(b"\x1b[>4;m", b""))
    if not screen.alternate:  # pyte has one screen only
        assert text(screen) == [line.rstrip() for line in reference.display]
        assert (min(screen.x, 79), screen.y) == (min(reference.cursor.x, 79), reference.cursor.y)
    assert any(text(screen))
    for size in (1, 7):
        assert whole(fed(data, pieces=size)) == whole(screen)
    again = fed(drawing(screen, 2000))
    assert (text(again), again.alternate) == (text(screen), screen.alternate)
    assert (again.x, again.y, again.style, again.modes) == (screen.x, screen.y, screen.style, screen.modes)
    assert [list(row.runs()) for row in again.lines] == [list(row.runs()) for row in screen.lines]


SEQUENCES = (
    "\x1b[{};{}H", "\x1b[{}A", "\x1b[{}B", "\x1b[{}C", "\x1b[{}D", "\x1b[{}J", "\x1b[{}K", "\x1b[{}L", "\x1b[{}M",
    "\x1b[{}P", "\x1b[{}@", "\x1b[{}X", "\x1b[{}S", "\x1b[{}T", "\x1b7", "\x1b8", "\x1bM", "\x1bD", "\x1bE",
    "\x1b[{};{}r", "\r", "\n", "\r\n", "\t", "\b", "\x1b[{}G", "\x1b[{}d", "\x1b[?6h", "\x1b[?6l", "\x1b[?7l",
    "\x1b[?7h", "\x1b[4h", "\x1b[4l", "中文", "é", "e\u0301", "x" * 9, "hello world ", "\x1b[{}b", "\x1b[{}E",
    "\x1b[{}F", "\x1b[?1049h", "\x1b[?1049l", "\x1b[Z", "\x1b[{};{}m", "\x1b[48;5;{}m", "\x1b(0", "\x1b(B", "\x1bc",
    "\x1b]0;title\x07", "\x1b]52;c;?\x07", "\x1bPq#0;2;0;0;0\x1b\\", "\x1b[?2004h", "\x1b[6n", "\x1b[c", "\ud7ff",
)  # fmt: skip


def noise(seed: int, count: int = 120) -> bytes:
    dice = random.Random(seed)
    parts = [
        one.format(*dice.choices(["", 0, 1, 2, 3, 5, 10, 24, 99999], k=2)) for one in dice.choices(SEQUENCES, k=count)
    ]
    return "".join(parts).encode()


@pytest.mark.parametrize("size", [(20, 8), (2, 1), (1, 3), (80, 24)])
def test_noise_leaves_a_screen_that_is_whole_however_it_is_cut(size: tuple[int, int]) -> None:
    for seed in range(60):
        data, dice = noise(seed), random.Random(seed)
        screen = fed(data, *size)
        assert whole(fed(data, *size, pieces=dice.choice([1, 2, 3, 11]))) == whole(screen), seed
        assert all(len(row.chars) == len(row.styles) == screen.columns for row in screen.lines), seed
        assert len(screen.lines) == screen.rows
        columns, rows = dice.randint(1, 90), dice.randint(1, 30)
        screen.resize(columns, rows)
        screen.feed(noise(seed + 1000))
        assert all(len(row.chars) == len(row.styles) == columns for row in screen.lines), seed
        assert len(screen.lines) == rows
        assert drawing(screen, 100)


def test_bytes_at_random_break_nothing() -> None:
    for seed in range(60):
        dice = random.Random(seed)
        data = bytes(dice.choices(b"\x1b\x1b\x1b[]P;?0123456789mHJKhlr\\\x07\x9c\xc3\xff ab\r\n", k=600))
        screen, stream = Emulator(30, 6), Stream()
        shown = b""
        for at in range(0, len(data), 13):
            inside, outside = stream.take(data[at : at + 13])
            screen.feed(inside)
            shown += outside
        assert len(shown) <= len(data)
        assert all(len(row.chars) == 30 for row in screen.lines)


def test_the_fast_way_is_the_slow_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(seed: int) -> bytes:
        dice = random.Random(seed)
        before = ["", "abc\x1b[5;5H中文xx\x1b[1;1H", "\x1b[7;1H", "\x1b[?1049h", "\x1b[31m", "zz\r\n" * 30]
        colours = ["", "\x1b[32m", "\x1b[1;31m", "\x1b[0m", "\x1b[m", *(["\x1b[41m", "\x1b[7m"] if seed % 3 else [])]
        words = [
            dice.choice(colours)
            + f"w{dice.randrange(99)} größe " * dice.choice([0, 1, 5, 20])
            + dice.choice(["", "\x1b[0m"])
            for _ in range(dice.choice([20, 60, 200]))
        ]
        return (dice.choice(before) + "\r\n".join(words) + dice.choice(["", "\r\n"])).encode()

    sizes = [(80, 24), (20, 5), (10, 1), (7, 3)]
    fast = [whole(fed(stream(seed), *sizes[seed % 4])) for seed in range(80)]
    monkeypatch.setattr(bulk, "take", lambda screen, text, at, known: at)
    assert [whole(fed(stream(seed), *sizes[seed % 4])) for seed in range(80)] == fast


def test_lines_that_nobody_sees_are_left_out_and_the_screen_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(seed: int) -> bytes:
        dice = random.Random(seed)
        colours = ["", "", "\x1b[32m", "\x1b[1;31m", "\x1b[0m", "\x1b[m", *(["\x1b[41m"] if seed % 3 == 0 else [])]
        text = ["plain words here", "größe ─┼─ ±", "x" * 130, "", "a\tb" if seed % 4 == 0 else "ab"]
        words = [dice.choice(colours) + dice.choice(text) + dice.choice(["", "\x1b[0m"]) for _ in range(9000)]
        before = ["", "\x1b[?1049h", "\x1b[31mold\r\n" * 90, "\x1b[9;9Hx中文\r\n", "\x1b[2;5r"][seed % 5]
        return (before + "\r\n".join(words) + dice.choice(["", "\r\nend", "\x1b[2b"])).encode()

    left: list[int] = []
    skip = bulk.skip
    monkeypatch.setattr(bulk, "skip", lambda *given: left.append(skip(*given) - given[2]) or given[2] + left[-1])
    sizes = [(80, 24), (20, 5), (133, 50)]
    fast = [whole(fed(stream(seed), *sizes[seed % 3])) for seed in range(15)]
    assert sum(one > 100_000 for one in left) >= 5
    monkeypatch.setattr(bulk, "take", lambda screen, text, at, known: at)
    monkeypatch.setattr(bulk, "skip", lambda screen, text, at, end: at)
    assert [whole(fed(stream(seed), *sizes[seed % 3])) for seed in range(15)] == fast


def test_a_line_that_is_rewritten_is_that_of_the_last_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    def stream(seed: int) -> bytes:
        dice = random.Random(seed)
        codes = ["", "", "\x1b[36m", "\x1b[1;44m", "\x1b[0m", "\x1b[m", *(["\x1b[K", "\x1b[2K"] if seed % 3 else [])]
        codes += ["\x1b[1K", "\x1b[C", "\n", "中"] if seed % 5 == 0 else []

        mark = "é" if seed % 2 else "="

        def line(most: int) -> str:
            cut = dice.randrange(most)
            ends = dice.choice(codes), mark * dice.randrange(most - cut), dice.choice(codes)
            return f"\r{dice.choice(codes)}{'#' * cut}{''.join(ends)}"

        before = ["", "old line " * 9, "\x1b[4h", "x中文中文\r\n中文", "\x1b[1;31mred\x1b[41m"][
            seed % 5 if seed % 7 else 0
        ]
        parts = ["".join(line(dice.choice([9, 20, 40])) for _ in range(dice.randrange(60, 400))) for _ in range(3)]
        return (before + "\r\n".join(parts) + dice.choice(["", "\r\nend", "\x1b[2b", "x"])).encode()

    left: list[int] = []
    rewritten = bulk.rewritten

    def counted(screen: Screen, text: str, at: int) -> tuple[int, int]:
        found = rewritten(screen, text, at)
        left.append(found[0] - at)
        return found

    monkeypatch.setattr(bulk, "rewritten", counted)
    sizes = [(80, 24), (41, 5), (30, 4)]
    fast = [whole(fed(stream(seed), *sizes[seed % 3])) for seed in range(60)]
    assert sum(one > 1000 for one in left) >= 20
    monkeypatch.setattr(bulk, "rewritten", lambda screen, text, at: (at, at))
    assert [whole(fed(stream(seed), *sizes[seed % 3])) for seed in range(60)] == fast


def test_questions_are_answered_here_and_reach_no_client() -> None:
    answers: list[bytes] = []
    screen, stream = Emulator(80, 24, answers.append), Stream()
    asked = b"a\x1b[c\x1b[>c\x1b[6n\x1b[?6n\x1b[5n\x1b[?25$p\x1b[18t\x1bP$qm\x1b\\\x1b]10;?\x07\x1b]52;c;?\x07\x05b"
    inside, outside = stream.take(asked)
    screen.feed(inside)
    assert outside == b"ab"
    assert answers[:4] == [b"\x1b[?62;22c", b"\x1b[>0;10;0c", b"\x1b[1;2R", b"\x1b[?1;2R"]
    assert stream.take(b"\x1b[31mred\x1b]0;t\x07") == (b"\x1b[31mred\x1b]0;t\x07",) * 2


@pytest.mark.parametrize(
    "foreign",
    [
        b"\x1b]52;c;aGFy\x07", b"\x1b]52;c;aGFy\x1b\\", b"\x1b]1337;File=x\x07", b"\x1b]777;notify;a;b\x07",
        b"\x1b]4;1;red\x07", b"\x1b_Gt=f;L2V0Yw==\x1b\\", b"\x1bPq#0\x1b\\", b"\x1b^x\x1b\\", b"\x1b[>4;2m",
        b"\x1b[>1u", b"\x1b[=8u", b"\x1b[?9001h", b"\x1b[?25;1001h", b"\x1b[?2l", b"\x1b[2h", b"\x1b[?3h",
        b"\x1b[?69h", b"\x1b[8;9;9t", b"\x1b[5i", b"\x1b[1;5s", b"\x1b%@", b"\x1b G", b"\xc2\x9b", b"\xc2\x9d",
        b"\x1b]0;a" + b"b" * 3000 + b"\x07", b"\x1b",
    ],
)  # fmt: skip
def test_a_program_gets_no_hold_of_a_persons_terminal(foreign: bytes) -> None:
    for size in (1, 3, 5000):
        stream, shown = Stream(), b""
        data = b"a" + foreign + b"\x1b[31mb\xc2\xa0\x1b]2;t\x1b\\" + foreign
        for at in range(0, len(data), size):
            shown += stream.take(data[at : at + size])[1]
        assert shown + stream.end() == b"a\x1b[31mb\xc2\xa0\x1b]2;t\x1b\\"


@pytest.mark.parametrize(
    "joined",
    [
        b"\xc2\xc2\x9b\x9b5n", b"\xc2\xc2\xc2\x9d\x9d\x9d52;c;aGFy\x07", b"\xc2\x05\x9b5n", b"\xc2\x1b[5n\x9b5n",
        b"\xc2\x1b]52;c;aGFy\x07\x9b5n", b"\xc2\x1b]" + b"x" * 5000 + b"\x07\x9b5n", b"\xc2\x1b\xc2\x9b\x9b5n",
    ],
)  # fmt: skip
def test_what_is_left_out_joins_no_halves_of_a_control(joined: bytes) -> None:
    for size in (1, 2, 3, 10_000):
        stream, shown = Stream(), b""
        for at in range(0, len(joined), size):
            shown += stream.take(joined[at : at + size])[1]
        text = (shown + stream.end()).decode("utf-8", "replace")
        assert not any("\x80" <= letter < "\xa0" or letter == "\x1b" for letter in text), text


def test_what_programs_need_reaches_clients() -> None:
    needed = (
        b"\x1b[1;31mred\x1b[m\x1b[38:2::1:2:3mx\x1b[2J\x1b[?1049;25h\x1b[5;9H\x1b[4h\x1b[20l\x1b(0lq\x1b(B\x1b7\x1b8\x1bM\x1b[s\x1b[u"
        b"\x1b[2 q\x1b[!p\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\\x1b[?2004h\x1b[3;9r\x1b[?1000;1006h\x1b[?2026l\x1b=\x1b>\x0e\x0f\x1bc"
    )
    assert Stream().take(needed)[1] == needed


def test_a_string_without_an_end_is_not_kept() -> None:
    stream, screen = Stream(), Emulator(80, 24)
    size = 0
    for _ in range(200):
        inside, outside = stream.take((b"\x1bP" if not size else b"") + b"x" * 50_000)
        screen.feed(inside)
        size += len(outside)
    assert size == 0  # clients get nothing of it
    inside, outside = stream.take(b"x\x1b")
    screen.feed(inside)
    inside, outside = stream.take(b"\\shown")
    screen.feed(inside)
    assert text(screen)[0] == "shown"


def test_few_bytes_that_ask_for_much_work_are_done_in_parts() -> None:
    screen, at_once = Emulator(500, 200), Emulator(500, 200)
    data = b"begin" + b"\x1b[2J" * 50 + "\u5b57\x1b[99999bend".encode()
    screen.begin(data)
    parts = 1
    while screen.proceed(0.0):
        assert screen.behind
        parts += 1
    assert not screen.behind
    assert parts > 50
    at_once.feed(data)
    assert drawing(screen, 100) == drawing(at_once, 100)
    assert len(screen.scrollback) <= 2  # a repetition ends with the line


def test_a_line_without_an_end_is_written_in_parts() -> None:
    screen, at_once = Emulator(80, 24), Emulator(80, 24)
    data = b"x" * 500_000 + b"end"
    screen.begin(data)
    parts = 1
    while screen.proceed(0.0):
        parts += 1
    assert parts > 100
    for at in range(0, len(data), 1000):
        at_once.feed(data[at : at + 1000])
    assert drawing(screen, 100) == drawing(at_once, 100)


def test_a_sequence_has_so_many_numbers() -> None:
    screen = Emulator(80, 24)
    screen.feed(b"\x1b[?" + b"1;" * 30_000 + b"2004h")
    assert screen.modes == {1}


def test_what_a_program_can_have_kept_is_bounded() -> None:
    wide = Emulator(500, 200)
    wide.feed(b"line\r\n" * 3000)
    assert len(wide.scrollback) == 480
    wide.resize(80, 24)
    narrow = Emulator(80, 24)
    narrow.feed(b"line\r\n" * 3000)
    assert len(narrow.scrollback) == SCROLLBACK
    colours = Emulator(80, 24)
    for _ in range(3):
        colours.feed(b"\x1b[0m" * 4_000 + b"x\r\n" + b"y\r\n" * 30)
    assert all(not isinstance(line, RawLine) or len(line.text) < 5000 for line in colours.scrollback)
    screen = Emulator(80, 24)
    screen.feed(b"\x1b[31;" + b"0;" * 20_000 + b"7mx")
    assert screen.lines[0].styles[0].flags == 0  # a sequence of colours has an end


def test_a_copy_of_a_screen_stays_as_it_was() -> None:
    screen = Emulator(40, 5)
    screen.feed(b"one\r\ntwo\r\nthree\r\nfour\r\n\x1b[31mfive\r\nsix\x1b7\x1b[?1049h\x1b[?1000hfull")
    copied, drawn = snapshot(screen, 10), drawing(screen, 10)
    screen.feed(b"\x1bc\x1b[?1049l" + b"other\r\n" * 50 + b"\x1b[2J\x1b7")
    assert drawing(copied, 10) == drawn
