"""Locks: a name is in use exactly as long as the process that holds it lives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from roost.locks import Locks

HOLDER = """
import sys, time
from pathlib import Path
from roost.locks import Locks
locks = Locks(Path(sys.argv[1]))
locks.hold("other")
print("held", flush=True)
time.sleep(60)
"""


def test_a_name_is_held_until_it_is_dropped(tmp_path: Path) -> None:
    mine, others = Locks(tmp_path / "in" / "use"), Locks(tmp_path / "in" / "use")
    assert others.names() == []
    assert others.is_free("me")
    mine.hold("me")
    mine.hold("me")
    assert others.names() == ["me"]
    assert not others.is_free("me")
    assert not mine.is_free("me")
    mine.drop("me")
    mine.drop("me")
    assert others.names() == []
    assert others.is_free("me")


def test_a_killed_process_holds_nothing_and_its_name_is_found_once(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process, process.stdout as said:
        assert said.readline() == b"held\n"
        locks = Locks(tmp_path)
        assert not locks.is_free("other")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert locks.names() == ["other"]
        with locks.taking("other") as free, Locks(tmp_path).taking("other") as free_too:
            assert (free, free_too) == (True, False)
        assert locks.names() == []


def test_what_fails_while_a_name_is_taken_leaves_it_for_the_next(tmp_path: Path) -> None:
    (tmp_path / "dead").touch()
    locks = Locks(tmp_path)
    with pytest.raises(ValueError), locks.taking("dead"):
        raise ValueError
    assert locks.names() == ["dead"]
    assert locks.is_free("dead")
    assert locks.names() == []


def test_what_cannot_be_asked_is_not_free(tmp_path: Path) -> None:
    locks = Locks(tmp_path)
    locks.hold("me")
    (tmp_path / "loop").symlink_to("loop")
    assert not Locks(tmp_path).is_free("loop")
    locks.close()
    assert not os.path.exists(tmp_path / "me")
