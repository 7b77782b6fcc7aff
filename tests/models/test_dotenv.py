from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.yardstick import reference_seconds

from roost.errors import ConfigError
from roost.providers.dotenv import load, merged, parse

FILE = """\ufeff# a comment
PLAIN=value
  export EXPORTED = spaced value   # and a comment
SINGLE='as $it "is" # here\\n'  # comment
DOUBLE="two\\nlines \\"quoted\\" # kept"
EMPTY=
HASH=a#b
URL=http://host:1/v1?x=y#frag
QUOTED_EMPTY=""
DOTTED.KEY=1
PLAIN=again
"""


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_kind_of_line(ending: str) -> None:
    assert parse(FILE.replace("\n", ending)) == {
        "PLAIN": "again",
        "EXPORTED": "spaced value",
        "SINGLE": 'as $it "is" # here\\n',
        "DOUBLE": 'two\nlines "quoted" # kept',
        "EMPTY": "",
        "HASH": "a#b",
        "URL": "http://host:1/v1?x=y#frag",
        "QUOTED_EMPTY": "",
        "DOTTED.KEY": "1",
    }


def test_lines_that_are_not_understood_are_left_out() -> None:
    assert parse("no equals\n1KEY=a\nOPEN='a\nOPEN2=\"a\n=x\nA B=c\nGOOD=1\nTAIL='a' b\n") == {"GOOD": "1"}


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    parse(text)


def test_long_lines_are_read_quickly() -> None:
    for line in ("A=" + "x" * 200_000, "A=" + " " * 20_000 + "#", "A=" + "# " * 20_000, 'A="' + "\\" * 100_000):
        assert reference_seconds(lambda line=line: parse(line), tries=1) < 0.5


def test_the_environment_wins_and_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("ROOST_A=file\nROOST_B=file\n")
    before = dict(os.environ)
    assert merged({"ROOST_A": "env"}, file) == {"ROOST_A": "env", "ROOST_B": "file"}
    assert dict(os.environ) == before


def test_no_file_is_no_pairs(tmp_path: Path) -> None:
    assert load(tmp_path / ".env") == {}
    assert load(tmp_path) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("A=secret")
    file.chmod(0)
    with pytest.raises(ConfigError, match="permissions"):
        load(file)
