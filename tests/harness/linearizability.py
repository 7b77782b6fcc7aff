"""Is each session's log linearizable? Operations are recorded with their times at the clients, and checked afterwards.

Linearizable (Herlihy & Wing, 1990): every operation can be thought to happen at one instant between its call and its
return, such that all answers are right. The object here is a queue in front of an append-only log:

- accept: an input enters the inbox (a queue); an order whose answer never came may have entered it, once at most;
- the owner takes inputs out of the inbox into the log, and appends what else happens. Nobody sees that as an operation.
  It takes none while one of the same or a higher rank that came earlier waits (`roost.agent.inputs`: control is taken
  in at once, steering within a turn, other messages one by one as turns);
- read: the log from a position on to its end at one instant, or a piece of it.

Deciding this is NP-complete for objects in general (Gibbons & Korach, 1997), and checkers such as Knossos and porcupine
search the orders (Wing & Gong, 1993). No search is needed here, because values say where an operation belongs: inputs
are told apart by their number or their text, and a log that only grows orders all reads by their length. What remains
is whether these forced orders agree with real time, which pairs of operations decide:

1. a read that begins after another one ended saw at least as much, and each saw a piece of the one log;
2. nothing is seen in the log before its order began;
3. no input is taken in after one that was ordered when it was acknowledged already, unless that has a higher rank;
4. what was acknowledged is in the log (once all is settled) once, what was not at most once, and nothing else.

Given these, an order exists: let every part of the log be appended just before the first one who saw it returned, and
every input enter the inbox as late as that, its return, and the inputs that must follow it allow. The tests compare
this with a search of all orders.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from roost.log import events as ev
from roost.log.content import Text

Rank: TypeAlias = Literal[0, 1, 2]
"""What may overtake what: 0 messages and timers, 1 steering, 2 control."""


class Accept(msgspec.Struct, kw_only=True):
    """An order to take an input in, with all its repetitions under one key. `what` is a message's text, which no other
    one has, or a control's action. `end` is when its acknowledgement came, with the input's number; infinite when none
    came. `late`: it enters the inbox by itself at some time after `start`, as a timer does."""

    session: str
    what: str
    rank: Rank
    start: float
    end: float = math.inf
    input: int | None = None
    late: bool = False


class Read(msgspec.Struct, kw_only=True):
    """A piece of the log after `after`. `whole`: it went to the end of the log. `end` is infinite if nothing came."""

    session: str
    after: int
    start: float
    end: float = math.inf
    bodies: Sequence[bytes] = ()
    whole: bool = False

    @property
    def length(self) -> int:
        """So long was the log at least, and with `whole` at most."""
        return self.after + len(self.bodies)


class History:
    """Records. Times are seconds of the monotonic clock: all clients are in one process."""

    def __init__(self) -> None:
        self.accepts: dict[str, list[Accept]] = defaultdict(list)
        self.reads: dict[str, list[Read]] = defaultdict(list)

    def accept(self, session: str, what: str, rank: Rank, *, late: bool = False) -> Accept:
        """An order is about to be given."""
        self.accepts[session].append(Accept(session=session, what=what, rank=rank, start=time.monotonic(), late=late))
        return self.accepts[session][-1]

    def acknowledged(self, accept: Accept, input: int | None) -> None:
        accept.end, accept.input = time.monotonic(), input

    def read(self, session: str, after: int) -> Read:
        """The log is about to be asked for."""
        return Read(session=session, after=after, start=time.monotonic())

    def answered(self, read: Read, bodies: Sequence[bytes], *, whole: bool) -> None:
        read.end, read.bodies, read.whole = time.monotonic(), bodies, whole
        self.reads[read.session].append(read)

    def shown(self, session: str, seq: int, body: bytes, at: float | None = None) -> None:
        """An event came in a stream."""
        at = time.monotonic() if at is None else at
        self.reads[session].append(Read(session=session, after=seq - 1, start=at, end=at, bodies=(body,)))

    @property
    def operations(self) -> int:
        return sum(map(len, self.accepts.values())) + sum(map(len, self.reads.values()))

    def problems(self, session: str, log: Sequence[bytes], *, settled: bool = True) -> list[str]:
        """What about a session is not linearizable, in words. `log` is all of it. `settled`: everything was given time
        to be taken in. Costs O(n log n) in the operations and events."""
        events = [ev.decode_event(body) for body in log]
        accepts, reads = self.accepts[session], self.reads[session]
        places, found = _places(accepts, events, settled=settled)
        seen = _Seen(reads)
        found += _contents(reads, log)
        found += _reads(reads, seen)
        found += _causes(accepts, places, seen)
        found += _order(accepts, places)
        return [f"{session}: {problem}" for problem in found]


class _Seen:
    """How long the log had been seen to be by a time."""

    def __init__(self, reads: Sequence[Read]) -> None:
        ordered = sorted((read.end, read.length) for read in reads)
        self._ends = [end for end, _ in ordered]
        self._longest = [0]
        for _, length in ordered:
            self._longest.append(max(self._longest[-1], length))

    def before(self, at: float) -> int:
        return self._longest[bisect_left(self._ends, at)]


def _contents(reads: Sequence[Read], log: Sequence[bytes]) -> list[str]:
    found: list[str] = []
    for read in reads:
        if read.length > len(log):
            found.append(f"event {read.length} was shown and is gone: the log ends at {len(log)}")
        for seq, body in enumerate(read.bodies, read.after + 1):
            if seq <= len(log) and body != log[seq - 1]:
                found.append(f"event {seq} was shown as {body!r} and is {log[seq - 1]!r}")
    return found


def _reads(reads: Sequence[Read], seen: _Seen) -> list[str]:
    return [
        f"a read that began at {read.start:.4f} saw {read.length} events, and {seen.before(read.start)} had been seen"
        for read in reads
        if read.whole and read.length < seen.before(read.start)
    ]


def _causes(accepts: Sequence[Accept], places: Mapping[int, int], seen: _Seen) -> list[str]:
    return [
        f"{_name(accept)} was seen in the log, at {places[number]}, before it was ordered"
        for number, accept in enumerate(accepts)
        if number in places and seen.before(accept.start) >= places[number]
    ]


def _order(accepts: Sequence[Accept], places: Mapping[int, int]) -> list[str]:
    """Sweeps the log; of those before a place, only the one that began last can have begun too late."""
    found: list[str] = []
    latest: dict[Rank, Accept] = {}
    for number in sorted(range(len(accepts)), key=lambda number: places.get(number, math.inf)):
        accept = accepts[number]
        for rank, other in latest.items():
            if rank <= accept.rank and not accept.late and accept.end < other.start:
                found.append(
                    f"{_name(accept)} was acknowledged {other.start - accept.end:.4f} s before {_name(other)} was"
                    " ordered, and was taken in after it"
                )
        if number in places and (accept.rank not in latest or latest[accept.rank].start < accept.start):
            latest[accept.rank] = accept
    return found


def _places(
    accepts: Sequence[Accept], events: Sequence[ev.Event], *, settled: bool
) -> tuple[dict[int, int], list[str]]:
    """Where in the log each order is (by its place among the orders), and what is wrong with that."""
    inputs: dict[int, tuple[int, str]] = {}
    found: list[str] = []
    for seq, event in enumerate(events, 1):
        match event:
            case ev.InputReceived(input=number):
                what = "\n".join(part.text for part in event.parts if isinstance(part, Text))
                if (event.source or "").startswith("schedule:"):  # a line before it says which
                    what = what.partition("\n")[2]
            case ev.ControlApplied(input=number, action=what):
                pass
            case _:
                continue
        if number in inputs:
            found.append(f"input {number} was taken in twice, at {inputs[number][0]} and {seq}")
        inputs[number] = (seq, what)
    places = _known(accepts, inputs, found, settled=settled)
    free: dict[str, list[int]] = defaultdict(list)
    for seq, what in inputs.values():
        free[what].append(seq)
    for number, accept in enumerate(accepts):
        if number not in places and accept.input is None and free[accept.what]:
            places[number] = free[accept.what].pop(0)
        if number not in places and settled and accept.end < math.inf:
            found.append(f"{_name(accept)} was acknowledged and never taken in")
    for what, seqs in free.items():
        found += [f"{what[-80:]!r} is in the log, at {seq}, and was not ordered, or not so often" for seq in seqs]
    return places, found


def _known(
    accepts: Sequence[Accept], inputs: dict[int, tuple[int, str]], found: list[str], *, settled: bool
) -> dict[int, int]:
    """Those whose number was acknowledged; they leave `inputs`."""
    places: dict[int, int] = {}
    given = Counter(accept.input for accept in accepts if accept.input is not None)
    found += [f"the number {number} was given to {times} inputs" for number, times in given.items() if times > 1]
    for place, accept in enumerate(accepts):
        if accept.input is None or accept.input not in inputs:
            continue
        seq, what = inputs.pop(accept.input)
        places[place] = seq
        if what != accept.what:
            found.append(f"{_name(accept)} is {what[-80:]!r} in the log, at {seq}")
    return places


def _name(accept: Accept) -> str:
    number = "" if accept.input is None else f" ({accept.input})"
    return f"{accept.what[-80:]!r}{number}"
