from __future__ import annotations

import base64
import io
import random
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image as Pil

from roost.log.content import Image

Draw = Callable[..., Image]


def noise(mode: str, size: tuple[int, int]) -> Pil.Image:
    """A picture that compresses badly."""
    grey = Pil.frombytes("L", size, random.Random(5).randbytes(size[0] * size[1]))
    return grey.convert(mode)


@pytest.fixture
def draw() -> Draw:
    """Makes an `Image`: `draw(300, 100, "PNG", "RGB", noisy=..., name=..., options of Pillow...)`."""

    def make(
        width: int,
        height: int,
        form: str = "PNG",
        mode: str = "RGB",
        *,
        noisy: bool = False,
        name: str | None = "a",
        **how: Any,
    ) -> Image:
        picture = noise(mode, (width, height)) if noisy else Pil.new(mode, (width, height))
        out = io.BytesIO()
        picture.save(out, form, **how)
        return Image(f"image/{form.lower()}", base64.b64encode(out.getvalue()).decode(), name=name)

    return make
