"""Derive the safety of an operation from its method and its words.

The words come from a stranger: they make an operation more dangerous, never less dangerous than its method. A person
who knows better says so in the agent's option `openapi`."""

from __future__ import annotations

import re

from roost.policy.gate import Safety

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_DESTROYS = frozenset(
    "delete remove destroy purge erase wipe drop truncate revoke terminate cancel close archive uninstall unlink evict"
    " disable reset deactivate void expire kill stop abort".split()
)
_RISKY = frozenset(
    "pay charge refund transfer withdraw payout purchase buy sell order trade send email sms notify publish deploy"
    " release merge execute exec run invoke trigger dispatch rotate grant permission admin password secret token key"
    " credential login logout impersonate restore rollback migrate approve sign submit import".split()
)
_WRITES = frozenset(
    "create add insert update set edit modify put post comment upload register rename label tag assign subscribe star"
    " watch follow save search query list get find validate check preview count calculate estimate".split()
)
_READS = frozenset(
    "get list read find search query fetch count check describe show view retrieve download head".split()
)


def safety_of(method: str, name: str, summary: str, path: str) -> Safety:
    """Return the safety of an operation. name: its id in the document, or empty."""
    verbs = _words(name)[:4] + _words(summary)[:2]
    first = next(iter(verbs), "")
    if method == "DELETE":
        return "destructive"
    if method in ("GET", "HEAD"):
        return _of_reading(first, _words(path))
    if any(verb in _DESTROYS for verb in verbs):
        return "destructive"
    if any(word in _RISKY for word in (*verbs, *_words(path))):
        return "high_risk"
    if method in ("PUT", "PATCH"):
        return "safe_write"
    return "safe_write" if any(verb in _WRITES for verb in verbs) else "high_risk"


def _of_reading(first: str, path: list[str]) -> Safety:
    """A read whose name or last step of the path says that it acts, as old APIs have them (`GET /users/7/delete`)."""
    last = path[-1] if path else ""
    if first in _READS:
        return "read_only"
    if first in _DESTROYS or last in ("delete", "remove", "destroy", "purge", "cancel", "revoke"):
        return "destructive"
    if first in _RISKY - {"order", "key", "token", "secret", "release", "permission", "admin", "run", "import"}:
        return "high_risk"
    return "high_risk" if last in ("logout", "execute", "trigger", "send", "restart", "shutdown") else "read_only"


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text[:300])]
