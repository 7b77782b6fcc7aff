"""Errors as problem documents: `application/problem+json` with a stable `code`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

import msgspec

from roost.errors import Busy, RoostError

log = logging.getLogger("roost.server")
CONTENT_TYPE = b"application/problem+json"


_scrub: Callable[[str], str] = str


def mask(scrub: Callable[[str], str]) -> None:
    """Mask secrets in all later problems with `scrub`."""
    global _scrub
    _scrub = scrub


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """An error as a problem document. `code` is stable and safe to match on; `detail` is for people and may change."""

    type: str
    title: str
    status: int
    code: str
    detail: str


class Refused(RoostError):
    """The request itself is invalid. `headers` are added to the response."""

    def __init__(self, status: int, code: str, detail: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        super().__init__(detail, code=code, status=status)
        self.headers = headers or []


def problem_of(error: Exception, where: str) -> Problem:
    """Convert an error to a problem. An unexpected error is logged with `where`, and its details are not shown."""
    if not isinstance(error, RoostError):
        log.error("%s failed", where, exc_info=error)
        return problem(500, "internal", "the server failed on this request; its log has a line about it")
    if error.code == "store_closed":
        return shutting_down()
    quiet = isinstance(error, Busy) or error.code == "shutting_down"  # the client is told, and it is no failure
    if error.status >= 500 and not quiet:
        log.error("%s: %s", where, error)
    return problem(error.status, error.code, error.message)


def shutting_down() -> Problem:
    return problem(503, "shutting_down", "the daemon is stopping; what it accepted is safe: connect again later")


def token_ended() -> Problem:
    return problem(401, "token_ended", "the token or sign-in of this stream was revoked or has expired; it ends here")


def session_gone(session: str) -> Problem:
    return problem(404, "session_deleted", f"session {session!r} was deleted")


def session_halted(session: str, state: str, reason: str | None) -> Problem:
    why = f" ({reason})" if reason else ""
    detail = f"session {session!r} is {state}{why}; what it has not answered waits until it is started again"
    return problem(409, f"session_{state}", detail)


def problem(status: int, code: str, detail: str) -> Problem:
    return Problem(type="about:blank", title=HTTPStatus(status).phrase, status=status, code=code, detail=_scrub(detail))
