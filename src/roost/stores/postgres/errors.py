"""Convert PostgreSQL's errors to ours, with what to do about them."""

from __future__ import annotations

import errno

import asyncpg

from roost.errors import Invalid, RoostError, StoreCorrupt, StoreFailed, StoreUnreachable

_BROKEN = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.OperatorInterventionError, OSError)
"""The connection broke, or the server is stopping or not up yet: another try may succeed."""

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, ValueError)
"""The errors that asyncpg raises."""

_PAIRS: tuple[tuple[type[Exception], str, str], ...] = (
    (asyncpg.DiskFullError, "disk_full", "the database's disk is full: free some space there, then try again"),
    (
        asyncpg.ReadOnlySQLTransactionError,
        "read_only",
        "the database is read-only: it is a standby, or was set so. Name all its hosts in the address with"
        " ?target_session_attrs=read-write, or clear default_transaction_read_only",
    ),
    (
        asyncpg.InsufficientPrivilegeError,
        "store_refused",
        "the database's user may not do that: let it own the schema (GRANT CREATE ON DATABASE …)",
    ),
)

_SHUT: tuple[tuple[type[Exception], str, str], ...] = (
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "store_refused",
        "the database refuses the user or the password: check the address",
    ),
    (asyncpg.InvalidCatalogNameError, "store_missing", "there is no such database: make it with `createdb`"),
)
"""Errors at connect. On a node that ran until now they may be temporary: a database renamed or restored, a password
changed."""


def is_lost(error: BaseException) -> bool:
    """Whether another connection may succeed. The interrupted work may or may not be committed."""
    if isinstance(error, (asyncpg.QueryCanceledError, ValueError)):  # cancelled, or a value that asyncpg cannot send
        return False
    return isinstance(error, (*_BROKEN, asyncpg.InternalClientError, asyncpg.TooManyConnectionsError))


def is_clash(error: BaseException) -> bool:
    """Whether this transaction was rolled back because of a conflict with another: try it again."""
    return isinstance(error, (asyncpg.DeadlockDetectedError, asyncpg.SerializationError))


def is_standby(error: BaseException) -> bool:
    """Whether this server takes no writes, for example after a failover: another host of the address may."""
    return isinstance(error, asyncpg.ReadOnlySQLTransactionError)


def failure(error: Exception) -> RoostError:
    """Convert an error of asyncpg or of the network."""
    if isinstance(error, asyncpg.ClientConfigurationError):
        return StoreFailed(f"the database's address is not right: {_short(error)}", code="store_refused")
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return StoreUnreachable(
            f"the database takes no more connections ({_short(error)}): a node uses up to seven; raise max_connections"
        )
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return StoreUnreachable(
            f"this node has no file descriptor left for a connection to the database ({_short(error)}):"
            " raise the limit (`ulimit -n`, LimitNOFILE= of a systemd unit) or take fewer streams"
        )
    if is_lost(error):
        return StoreUnreachable(f"the database does not answer ({_short(error)}): check that it runs; then try again")
    for kind, code, message in _SHUT:
        if isinstance(error, kind):
            return StoreUnreachable(f"{message} ({_short(error)})", code=code)
    for kind, code, message in _PAIRS:
        if isinstance(error, kind):
            return StoreFailed(f"{message} ({_short(error)})", code=code)
    if isinstance(error, (asyncpg.DataCorruptedError, asyncpg.IndexCorruptedError)):
        return StoreCorrupt(f"the database is damaged ({_short(error)}): restore a backup")
    if isinstance(error, (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)):
        return Invalid(f"the database cannot store that: {_short(error)}. Text must not hold NUL characters")
    if isinstance(error, (asyncpg.DataError, asyncpg.ProgramLimitExceededError, ValueError)):
        return Invalid(f"the database cannot store that: {_short(error)}")
    return StoreFailed(f"the database failed: {_short(error)}")


def _short(error: BaseException) -> str:
    text = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
