"""Markdown as it streams."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.cli.terminal.highlight import Highlighter
from roost.cli.terminal.lines import BOLD, CYAN, ITALIC, Span, line_width, text_of
from roost.cli.terminal.markdown import MarkdownStream, inline, rendered

PAGE = """# Title

Some **bold** and *italic* text with `code` and [a link](https://x.y/z) that wraps.
- item one with words that go on and on until they have to wrap
  - nested 日本語
1. first
- [x] done

> quoted text

| name | value |
|---|---:|
| a | 1 |
| `b` | **second** with a rather long text |

```python
def f(x):  # comment
    return "abc"
```
snake_case_name and 2*3*4 and **open
---
end"""


def texts(text: str, width: int = 60) -> list[str]:
    return [text_of(row).rstrip() for row in rendered(text, width)]


def test_a_page() -> None:
    assert texts(PAGE)[:3] == ["Title", "", "Some bold and italic text with code and a link"]
    assert "• item one with words that go on and on until they have to" in texts(PAGE)
    assert "  wrap" in texts(PAGE)
    assert "• ☑ done" in texts(PAGE)
    assert "│ quoted text" in texts(PAGE)
    assert f"name  {'value':>30}" in texts(PAGE)
    assert '      return "abc"' in texts(PAGE)
    assert "snake_case_name and 2*3*4 and **open" in texts(PAGE)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_pieces_give_the_rows_of_the_whole(size: int) -> None:
    stream, rows = MarkdownStream(), list[str]()
    for at in range(0, len(PAGE), size):
        rows += [text_of(row).rstrip() for block in stream.feed(PAGE[at : at + size]) for row in block.rows(60)]
        stream.open()
    rows += [text_of(row).rstrip() for block in stream.close() for row in block.rows(60)]
    assert rows == texts(PAGE)


def test_marks_become_styles() -> None:
    assert inline("a **b** `c`") == (Span("a "), Span("b", BOLD), Span(" "), Span("c", CYAN))
    assert inline("**a *b* c**")[1] == Span("b", f"{BOLD};{ITALIC}")
    assert inline("an \\*escaped\\* star") == (Span("an "), Span("*"), Span("escaped"), Span("*"), Span(" star"))


def test_rows_of_a_long_line_are_committed_early_and_once() -> None:
    words = [f"word{number}" for number in range(300)]
    stream, rows = MarkdownStream(), list[str]()
    for word in words:
        rows += [text_of(row) for block in stream.feed(f"{word} ") for row in block.rows(40)]
        rows += [text_of(row) for row in stream.settle(40, 2)]
        assert sum(len(block.rows(40)) for block in stream.open()) <= 3
    rows += [text_of(row) for block in stream.close() for row in block.rows(40)]
    assert " ".join(rows).split() == words


def test_a_table_wider_than_the_screen_wraps_in_its_cells() -> None:
    rows = rendered("| a | b |\n|---|---|\n| " + "many words " * 8 + "| " + "more words " * 8 + "|\n", 40)
    assert all(line_width(row) <= 40 for row in rows)
    assert sum(text_of(row).count("many") for row in rows) == 8


def test_a_string_over_lines_keeps_its_colour() -> None:
    code = Highlighter("python")
    code.line('x = """begin')
    assert code.line("def inside").count(Span("def inside", "32")) == 1
    assert code.line('end""" + def_')[0].style == "32"


@settings(max_examples=200)
@given(st.text(st.sampled_from("ab *_`[]()|#->~\\\n1.:日👍"), max_size=120), st.integers(8, 40))
def test_no_text_breaks_it_or_is_wider_than_the_screen(text: str, width: int) -> None:
    stream = MarkdownStream()
    for at in range(0, len(text), 5):
        for block in stream.feed(text[at : at + 5]):
            block.rows(width)
        for block in stream.open():
            block.rows(width)
        stream.settle(width, 2)
    for block in stream.close():
        assert all(line_width(row) <= width + 4 or "|" in text for row in block.rows(width))


def test_numbers_of_a_table_stand_at_the_right() -> None:
    rows = [text_of(row) for row in rendered("| name | value |\n| --- | ---: |\n| lark | 12 |\n| owl | 1200 |\n", 40)]
    assert rows[2:4] == ["lark     12", "owl    1200"]
