from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost.local.decode import StepReader, StringReader
from roost.models.request import CallDelta, TextDelta

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES, max_size=4)
STYLES = st.sampled_from([{}, {"indent": 1}, {"ensure_ascii": False}, {"separators": (",", ":")}])


def pieces(text: str, cuts: list[int]) -> list[str]:
    edges = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[start:end] for start, end in pairwise(edges)]


@given(st.text(), st.booleans(), st.lists(st.integers(0, 500)))
def test_a_string_in_pieces_is_the_string(value: str, ascii_only: bool, cuts: list[int]) -> None:
    reader = StringReader()
    inner = json.dumps(value, ensure_ascii=ascii_only)[1:]
    assert "".join(reader.feed(piece)[0] for piece in pieces(inner, cuts)) == value
    assert reader.done


@given(st.text(alphabet='\\u"dD89abcdef0123n/'), st.lists(st.integers(0, 50)))
def test_any_escapes_give_text_that_can_be_encoded(inner: str, cuts: list[int]) -> None:
    whole, cut = StringReader(), StringReader()
    text = whole.feed(inner)[0]
    text.encode()
    got = ""
    for piece in pieces(inner, cuts):
        if not cut.done:
            got += cut.feed(piece)[0]
    assert got == text


@given(st.text(), STYLES, st.lists(st.integers(0, 500)))
def test_an_answer_is_streamed_as_its_text(value: str, style: dict[str, Any], cuts: list[int]) -> None:
    reader = StepReader()
    deltas = [delta for piece in pieces(json.dumps({"answer": value}, **style), cuts) for delta in reader.feed(piece)]
    assert all(isinstance(delta, TextDelta) for delta in deltas)
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == value
    assert reader.step().tool is None
    assert reader.step().text == value


@given(st.text(min_size=1), OBJECTS, STYLES, st.lists(st.integers(0, 500)))
def test_a_call_is_streamed_with_its_arguments(
    name: str, args: dict[str, Any], style: dict[str, Any], cuts: list[int]
) -> None:
    reader = StepReader()
    text = json.dumps({"tool": name, "args": args}, **style)
    deltas = [delta for piece in pieces(text, cuts) for delta in reader.feed(piece)]
    calls = [delta for delta in deltas if isinstance(delta, CallDelta)]
    assert len(calls) == len(deltas)
    assert [call.name for call in calls] == [name] + [None] * (len(calls) - 1)
    assert "".join(call.arguments for call in calls) == reader.step().text
    assert reader.step().tool == name
    assert json.loads(reader.step().text) == args


@given(VALUES.filter(lambda value: not isinstance(value, str)), STYLES, st.lists(st.integers(0, 200)))
def test_an_answer_of_data_is_its_json(value: Any, style: dict[str, Any], cuts: list[int]) -> None:
    reader = StepReader()
    for piece in pieces(json.dumps({"answer": value}, **style), cuts):
        reader.feed(piece)
    assert json.loads(reader.step().text) == value


@pytest.mark.parametrize(
    ("text", "tool", "got"),
    [
        ("", None, ""),
        ('{"answer": "half a wo', None, "half a wo"),
        ('{"answer": "half an escape \\u00', None, "half an escape "),
        ('{"tool": "read", "args": {"path": "a', "read", '{"path": "a'),
        ('{"tool": "read", "ar', None, ""),
        ("no JSON at all", None, ""),
    ],
)
def test_a_step_that_was_cut_off(text: str, tool: str | None, got: str) -> None:
    reader = StepReader()
    reader.feed(text)
    assert (reader.step().tool, reader.step().text) == (tool, got)
