"""The types of behaviours, and of the cells of the table."""

from __future__ import annotations

import ast
import asyncio
import linecache
import textwrap
import time
import traceback
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Literal, TypeAlias

import msgspec

from roost.testing.matrix.ground import DEADLINE, FEATURES, Ground, NotHere, Real, Subject

Verdict: TypeAlias = Literal["ok", "fail", "skip"]
Check: TypeAlias = Callable[[Ground], Awaitable[None]]


class Behaviour(msgspec.Struct, frozen=True):
    """`check` raises `AssertionError` where a wire misbehaves. Unless `live`, it needs a script."""

    name: str
    check: Check
    live: bool = False


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One behaviour of one wire. `why` is the reason of a failure or a skip."""

    behaviour: str
    wire: str
    verdict: Verdict
    why: str = ""
    seconds: float = 0.0


known: dict[str, Behaviour] = {}


def _told(error: Exception) -> str:
    """Describe the error, with the line of the behaviour that it came from."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    found = _sides(error.__traceback__) if isinstance(error, AssertionError) and not error.args else str(error)
    said = f"{type(error).__name__}: {found}".rstrip(": ").partition("\n")[0][:500]
    return f"{said} at {place.filename.rpartition('/')[2]}:{place.lineno}: {place.line}"


def _sides(trace: TracebackType | None) -> str:
    """Return the values of the two sides of the comparison that failed; empty where there are none to evaluate."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    place, frame = traceback.extract_tb(trace)[0], trace.tb_frame
    lines = linecache.getlines(place.filename)[(place.lineno or 1) - 1 : place.end_lineno]
    try:
        statement = ast.parse(textwrap.dedent("".join(lines))).body[0]
        test = statement.test if isinstance(statement, ast.Assert) else None
        if not isinstance(test, ast.Compare):
            return ""
        names = {**frame.f_globals, **frame.f_locals}
        sides = [eval(ast.unparse(side), names) for side in (test.left, *test.comparators)]
    except Exception:  # an `await`, or a value that can be taken only once: the line alone has to do
        return ""
    return "found " + ", compared with ".join(repr(side)[:200] for side in sides)


def unknown(lacks: Iterable[str]) -> str:
    """Say which names of `lacks` are neither a behaviour nor a feature; empty if all are known."""
    wrong = sorted(set(lacks) - {*known, *FEATURES})
    return f"lacks {', '.join(map(repr, wrong))}: use a behaviour or one of {', '.join(FEATURES)}" if wrong else ""


def behaviour(*, live: bool = False) -> Callable[[Check], Check]:
    """Register a check under its function's name."""

    def add(check: Check) -> Check:
        name = check.__name__
        known[name] = Behaviour(name, check, live)
        return check

    return add


async def tried(one: Behaviour, subject: Subject, others: Sequence[Subject], real: Real | None = None) -> Cell:
    """Test one behaviour. Raises nothing but cancellation: errors go into the cell."""
    began = time.monotonic()

    def cell(verdict: Verdict, why: str = "") -> Cell:
        return Cell(behaviour=one.name, wire=subject.name, verdict=verdict, why=why, seconds=time.monotonic() - began)

    if wrong := unknown(subject.lacks):
        return cell("fail", wrong)
    if one.name in subject.lacks:
        return cell("skip", subject.lacks[one.name])
    if real is not None and not one.live:
        return cell("skip", "it needs a script")
    ground = Ground(subject, others, real)
    try:
        async with asyncio.timeout(DEADLINE):
            await one.check(ground)
    except NotHere as reason:
        return cell("skip", str(reason))
    except TimeoutError:
        return cell("fail", f"it took more than {DEADLINE:.0f} seconds")
    except Exception as error:  # any error of a behaviour fails its cell
        return cell("fail", _told(error))
    finally:
        await ground.close()
    return cell("ok")
