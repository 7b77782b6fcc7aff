"""What a person types."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from roost.cli.terminal.editor import _ACTIONS, Editor
from roost.cli.terminal.prompt_history import PromptHistory


def typed(*what: str) -> Editor:
    """`<name>` is a key, the rest is text."""
    editor = Editor()
    for one in what:
        if one[:1] == "<" and one[-1:] == ">":
            assert editor.do(one[1:-1]), one
        else:
            editor.insert(one)
    return editor


def marked(editor: Editor) -> str:
    return f"{editor.text[: editor.at]}|{editor.text[editor.at :]}"


def test_moving_and_removing() -> None:
    assert marked(typed("hello world", "<ctrl-w>", "there", "<home>", "say ")) == "say |hello there"
    assert marked(typed("a👩‍👩‍👧b", "<left>", "<backspace>")) == "a|b"
    assert marked(typed("e\u0301", "<backspace>")) == "|"
    assert marked(typed("one two", "<alt-left>", "<ctrl-k>", "<home>", "<ctrl-y>")) == "two|one "
    assert marked(typed("one\ntwo", "<home>", "<backspace>")) == "one|two"
    assert marked(typed("one\ntwo", "<ctrl-u>", "x")) == "one\nx|"


def test_up_and_down_between_lines() -> None:
    editor = typed("long line\nab\nthird")
    assert editor.up()
    assert marked(editor) == "long line\nab|\nthird"
    assert editor.up()
    assert not editor.up()
    assert editor.down()
    assert editor.down()
    assert not editor.down()


def test_undo_takes_back_what_was_typed_and_removed() -> None:
    editor = typed("some words", "<ctrl-w>")
    editor.do("ctrl-_")
    assert marked(editor) == "some words|"


def test_a_short_paste_is_text_and_a_long_one_a_mark() -> None:
    editor = Editor()
    editor.paste("one\ntwo")
    assert editor.text == "one\ntwo"
    block = "\n".join(f"line {number}" for number in range(40))
    editor.paste(block)
    assert editor.text == "one\ntwo[pasted text 1: 40 lines]"
    assert editor.whole == f"one\ntwo{block}"
    editor.do("left")
    assert marked(editor) == "one\ntwo|[pasted text 1: 40 lines]"
    editor.do("right")
    editor.do("backspace")
    assert editor.whole == "one\ntwo"


def test_pasted_control_characters_are_dropped() -> None:
    editor = Editor()
    editor.paste("a\x1b[2Jb\x00c")
    assert editor.text == "abc"


def test_rows_wrap_at_the_width_and_know_the_cursor() -> None:
    rows, at = typed("abcdefgh\n日本語", "<home>").rows(4)
    assert [row.text for row in rows] == ["abcd", "efgh", "日本", "語"]
    assert at == 2


@given(st.lists(st.one_of(st.sampled_from(sorted(_ACTIONS)), st.text(max_size=6).map(lambda text: "+" + text))))
def test_no_sequence_of_keys_loses_the_cursor(keys: list[str]) -> None:
    editor = Editor()
    for key in keys:
        if key[0] == "+":
            editor.insert(key[1:])
        else:
            editor.do(key)
        assert 0 <= editor.at <= len(editor.text)
        rows, at = editor.rows(7)
        assert rows[at].begin <= editor.at
        assert "".join(row.text for row in rows) == editor.text.replace("\n", "")


def test_two_terminals_keep_each_others_messages_when_old_ones_go(tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(f'"old {number}"\n' for number in range(2000)))
    mine, others = PromptHistory(path), PromptHistory(path)
    assert len(mine.texts) == len(others.texts) == 2000
    others.add("from another terminal")
    mine.add("from this one")
    assert PromptHistory(path).texts[-2:] == ["from another terminal", "from this one"]
    assert mine.texts[-2:] == ["from another terminal", "from this one"]
