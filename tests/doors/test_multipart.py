"""Forms from clients that keep to no rule."""

from __future__ import annotations

import pytest

from roost.doors.multipart import Form, _described
from roost.errors import Invalid

KIND = "multipart/form-data; boundary=b"


def part(name, text, *, file=None):
    told = f'form-data; name="{name}"' + ("" if file is None else f'; filename="{file}"')
    return f"--b\r\nContent-Disposition: {told}\r\n\r\n{text}\r\n".encode()


def form(*parts, size=7):
    data = b"".join(parts) + b"--b--\r\n"

    async def body():
        for at in range(0, len(data), size):
            yield data[at : at + size]

    return Form(KIND, body())


@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_fields_come_first_and_then_a_file(size):
    made = form(part("a", "1"), part("b", ""), part("file", "x" * 5000, file="n.txt"), size=size)
    file = await made.file()
    assert (made.fields, file.field, file.name) == ({"a": "1", "b": ""}, "file", "n.txt")
    assert b"".join([piece async for piece in file.content]) == b"x" * 5000
    assert await form(part("a", "1")).file() is None


@pytest.mark.parametrize("more", [part("expires", "1"), part("file", "", file="m")])
async def test_what_comes_behind_the_file_is_refused(more):
    made = form(part("file", "x", file="n"), more)
    file = await made.file()
    with pytest.raises(Invalid, match="behind its file"):
        assert [piece async for piece in file.content]


def test_a_long_head_is_read_in_one_pass():
    field, name, _ = _described(b"content-disposition: form-data; " + b"a" * 2_000_000 + b'; name="x"')
    assert (field, name) == ("x", None)


async def test_heads_and_parts_are_bounded():
    with pytest.raises(Invalid, match="head"):
        await form(part("x" * 20_000, ""), size=100_000).file()
    with pytest.raises(Invalid, match="parts"):
        await form(*[part("same", "")] * 1000, size=100_000).file()
