from __future__ import annotations

import pytest

from roost.models.request import ToolSpec
from roost.models.tokens import estimate_request, estimate_text, foreign
from roost.testing.models import ask, user


@pytest.mark.parametrize(
    ("text", "tokens", "others"),
    [
        ("", 1, 0),
        ("plain text", 3, 0),
        ("schön", 2, 1),
        ("привет", 3, 6),
        ("漢字かな", 5, 4),
        ("한글", 3, 2),
        ("漢 and 字", 2 + 5 // 3 + 1, 2),
        ("🙂🙂", 3, 2),
        ("\ud83d", 2, 1),
    ],
)
def test_a_text_is_so_many_tokens_and_so_many_of_its_characters_are_not_ascii(
    text: str, tokens: int, others: int
) -> None:
    assert (estimate_text(text), foreign(text)) == (tokens, others)


def test_all_that_is_sent_counts() -> None:
    plain = estimate_request(ask())
    tool = ToolSpec("look", "Look at something.", {"type": "object"})
    for more in (
        {"context": ("x" * 400,)},
        {"constraints": ("x" * 400,)},
        {"output_hint": "x" * 400},
        {"tools": (tool,) * 8},
        {"output_schema": {"type": "object", "description": "x" * 400}},
    ):
        assert estimate_request(ask(**more)) >= plain + 90
    assert estimate_request(ask(user("x" * 400))) >= plain + 90
