"""Let a browser sign in to the web console."""

from __future__ import annotations

from typing import Protocol

from roost.api.shapes import Answer
from roost.operation import POST


class SignInCode(Answer):
    """`code`: open `/#/enter/CODE` of the daemon with it, once. `ends`: until when, in seconds since 1970."""

    code: str
    ends: float


class ConsoleApi(Protocol):
    @POST("/console/codes", 201, right="read")
    async def code(self) -> SignInCode:
        """Make a code that signs one browser in to the console, with the caller's rights.

        It works once, within five minutes.
        """
        ...
