"""The error vocabulary. Every error has a stable `code`, an HTTP `status`, and a message that names the fix."""

from __future__ import annotations


class RoostError(Exception):
    """Base of every error that Roost raises on purpose.

    `code` is stable and safe to match on; the message is for people and may change.
    """

    code = "error"
    status = 500

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status

    @property
    def message(self) -> str:
        return str(self)


class NotFound(RoostError):
    """No session, fact or other object has this name."""

    code, status = "not_found", 404


class Forbidden(RoostError):
    """The caller may not do this. The message says which right is missing."""

    code, status = "forbidden", 403


class TooManySessions(Forbidden):
    """The account has as many sessions as it may."""

    code = "too_many_sessions"


class Conflict(RoostError):
    """The request contradicts the present state; `code` names the conflict."""

    code, status = "conflict", 409


class Invalid(RoostError):
    """The caller's data is wrong; nothing was accepted."""

    code, status = "invalid", 422


class TooLarge(RoostError):
    code, status = "too_large", 413


class Busy(RoostError):
    """A bounded queue is full. Nothing was accepted; try again later."""

    code, status = "busy", 503


class Fenced(RoostError):
    """The session has a newer owner. The caller must drop it at once and write nothing more."""

    code, status = "fenced", 409


class SequenceConflict(RoostError):
    """The log's head is not where the writer expected it."""

    code, status = "sequence_conflict", 409


class StoreFailed(RoostError):
    """The store refused a write (disk full, read-only, corrupt). Nothing of the request was committed."""

    code, status = "store_failed", 507


class StoreCorrupt(StoreFailed):
    """Stored data is damaged. The message says how to restore it."""

    code, status = "store_corrupt", 500


class StoreLost(StoreFailed):
    """The database file, or a part of it, is gone. The message says how to restore it."""

    code, status = "store_lost", 503


class StoreUnreachable(StoreFailed):
    """The database does not answer. Work in progress may or may not have been committed; it is safe to repeat."""

    code, status = "store_unreachable", 503


class UnknownEvent(RoostError):
    """The log holds an event kind that this version does not know; a newer Roost wrote it."""

    code, status = "unknown_event", 500


class ConfigError(RoostError):
    """The configuration is wrong or incomplete. The message says what to set."""

    code, status = "config", 400


class SandboxError(RoostError):
    """The sandbox cannot run commands. A failing command is data, never this error."""

    code, status = "sandbox_failed", 500
