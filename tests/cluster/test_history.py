"""The history checker finds each kind of fault, and agrees with a search of all orders."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roost.log import events as ev
from roost.log.content import Text
from tests.harness.linearizability import Accept, History, Rank, Read


def received(number: int, text: str) -> bytes:
    return ev.encode_event(ev.InputReceived(at=0.0, input=number, parts=(Text(text),)))


def other(name: str) -> bytes:
    return ev.encode_event(ev.Emitted(at=0.0, name=name))


LOG = [other("created"), received(1, "a"), other("x"), received(2, "b"), other("y")]


def history(*operations: Accept | Read) -> History:
    made = History()
    for operation in operations:
        if isinstance(operation, Accept):
            made.accepts["s"].append(operation)
        else:
            made.reads["s"].append(operation)
    return made


def accept(
    what: str, start: float, end: float = math.inf, *, input: int | None = None, rank: Rank = 0, late: bool = False
) -> Accept:
    return Accept(session="s", what=what, rank=rank, start=start, end=end, input=input, late=late)


def read(start: float, end: float, after: int, bodies: Sequence[bytes], *, whole: bool = True) -> Read:
    return Read(session="s", after=after, start=start, end=end, bodies=bodies, whole=whole)


A, B = accept("a", 0, 1, input=1), accept("b", 2, 3, input=2)


def test_what_went_well_is_well() -> None:
    fine = history(
        A,
        B,
        read(0, 0.5, 0, LOG[:1]),
        read(4, 5, 0, LOG),
        read(4, 5, 0, LOG[:2]),  # overlaps the one that saw more
        read(6, 6, 2, LOG[2:3], whole=False),
        accept("never came", 3),
    )
    assert fine.problems("s", LOG) == []
    assert fine.operations == 7
    assert History().problems("s", []) == []


def test_an_input_without_an_answer_counts_once_or_not_at_all() -> None:
    assert history(accept("a", 0), B).problems("s", LOG) == []
    assert history(A, B, accept("c", 0)).problems("s", LOG) == []
    found = history(accept("a", 0), B).problems("s", [*LOG, received(3, "a")])
    assert found == ["s: 'a' is in the log, at 6, and was not ordered, or not so often"]


@pytest.mark.parametrize(
    ("made", "log", "problem"),
    [
        (history(A, B, accept("c", 4, 5, input=3)), LOG, "'c' (3) was acknowledged and never taken in"),
        (history(A, B), [*LOG, received(2, "b")], "input 2 was taken in twice"),
        (history(A), LOG, "'b' is in the log, at 4, and was not ordered"),
        (history(A, accept("b", 2, 3, input=1)), LOG, "the number 1 was given to 2 inputs"),
        (history(A, accept("c", 2, 3, input=2)), LOG, "'c' (2) is 'b' in the log"),
        (history(accept("a", 4, 5, input=1), accept("b", 2, 3, input=2)), LOG, "'b' (2) was acknowledged 1.0000 s"),
        (history(A, B, read(4, 5, 0, LOG), read(6, 7, 0, LOG[:3])), LOG, "saw 3 events, and 5 had been seen"),
        (history(A, B, read(4, 4, 4, LOG[4:], whole=False), read(5, 6, 0, LOG[:4])), LOG, "saw 4 events, and 5"),
        (history(A, B, read(4, 5, 0, [*LOG, other("z")])), LOG, "event 6 was shown and is gone"),
        (history(A, B, read(4, 5, 2, [other("?")], whole=False)), LOG, "event 3 was shown as"),
        (history(A, B, read(0, 1, 0, LOG[:4])), LOG, "'b' (2) was seen in the log, at 4, before it was ordered"),
    ],
)
def test_each_fault_is_found(made: History, log: list[bytes], problem: str) -> None:
    found = made.problems("s", log)
    assert any(problem in one for one in found), found


def test_who_may_overtake_whom() -> None:
    """`b` was ordered after `a` was acknowledged, and was taken in before it."""
    log = [received(2, "b"), received(1, "a")]
    ranks: list[Rank] = [0, 1, 2]
    for first in ranks:
        for second in ranks:
            made = history(accept("a", 0, 1, input=1, rank=first), accept("b", 2, 3, input=2, rank=second))
            assert bool(made.problems("s", log)) == (second <= first), (first, second)
    late = history(accept("a", 0, 1, input=1, late=True), accept("b", 2, 3, input=2))
    assert late.problems("s", log) == []


def test_control_is_an_input_by_its_action() -> None:
    log = [ev.encode_event(ev.ControlApplied(at=0.0, action="cancel", input=7))]
    assert history(accept("cancel", 0, 1, input=7, rank=2)).problems("s", log) == []
    assert history(accept("cancel", 0, rank=2)).problems("s", log) == []
    assert history().problems("s", log) == ["s: 'cancel' is in the log, at 1, and was not ordered, or not so often"]


def test_what_is_not_settled_may_still_wait() -> None:
    made = history(A, B, accept("c", 4, 5, input=3))
    assert made.problems("s", LOG, settled=False) == []
    made = history(A, accept("c", 1.5, 1.6, input=3), B)
    assert made.problems("s", LOG, settled=False), "b has overtaken c, which is still to come"


def test_the_recorder_measures_time() -> None:
    made = History()
    one, unanswered = made.accept("s", "a", 0), made.accept("s", "b", 0)
    made.acknowledged(one, 1)
    asked = made.read("s", 0)
    made.answered(asked, LOG, whole=True)
    made.shown("s", 5, LOG[4])
    assert one.start <= unanswered.start <= one.end <= asked.start <= asked.end <= made.reads["s"][1].start
    assert unanswered.end == math.inf
    assert made.problems("s", LOG) == []


# Against a search of all orders (Wing & Gong)


def searched(accepts: Sequence[Accept], reads: Sequence[Read], log: Sequence[str | None]) -> bool:
    """Whether there is an order that a queue in front of a log allows. `log`: texts taken in, None for other events."""
    operations: list[Accept | Read] = [*accepts, *reads]

    @cache
    def search(left: frozenset[int], queue: tuple[int, ...], length: int) -> bool:
        if length == len(log) and all(operations[one].end == math.inf for one in left):
            return all(accepts[one].end == math.inf for one in queue)
        if length < len(log):
            taken = next((one for one in queue if accepts[one].what == log[length]), None)
            if log[length] is None and search(left, queue, length + 1):
                return True
            if taken is not None:
                earlier = queue[: queue.index(taken)]
                fine = all(accepts[one].rank < accepts[taken].rank for one in earlier)
                if fine and search(left, tuple(one for one in queue if one != taken), length + 1):
                    return True
        first_end = min((operations[one].end for one in left), default=math.inf)
        for one in left:
            operation = operations[one]
            if operation.start > first_end:
                continue
            rest = left - {one}
            if isinstance(operation, Accept):
                if search(rest, (*queue, one), length):
                    return True
            elif (operation.length == length if operation.whole else operation.length <= length) and search(
                rest, queue, length
            ):
                return True
        return False

    return search(frozenset(range(len(operations))), (), 0)


times = st.integers(0, 12)


@settings(max_examples=1500, deadline=None)
@given(st.data())
def test_it_agrees_with_a_search_of_all_orders(data: st.DataObject) -> None:
    spans = data.draw(st.lists(st.tuples(times, times, st.sampled_from([0, 1, 2]), st.booleans()), max_size=4))
    accepts = [
        accept(f"t{n}", min(a, b) * 2, max(a, b) * 2 + 1 if known else math.inf, rank=rank, input=n if known else None)
        for n, (a, b, rank, known) in enumerate(spans)
    ]
    in_log = [n for n, one in enumerate(accepts) if one.input is not None or data.draw(st.booleans())]
    texts: list[str | None] = [accepts[n].what for n in data.draw(st.permutations(in_log))]
    for _ in range(data.draw(st.integers(0, 2))):
        texts.insert(data.draw(st.integers(0, len(texts))), None)
    log = [other("x") if text is None else received(int(text[1:]), text) for text in texts]
    reads: list[Read] = []
    for _ in range(data.draw(st.integers(0, 3))):
        a, b, length = data.draw(times), data.draw(times), data.draw(st.integers(0, len(log)))
        reads.append(read(min(a, b) * 2, max(a, b) * 2 + 1, 0, log[:length], whole=data.draw(st.booleans())))
    found = history(*accepts, *reads).problems("s", log)
    assert (found == []) == searched(accepts, reads, texts), found


@pytest.mark.parametrize("seed", range(40))
def test_what_a_real_queue_and_log_do_is_never_a_fault(seed: int) -> None:
    """A long run, simulated: here an alarm would be a false one."""
    chance, made, log, queue, now = random.Random(seed), History(), list[bytes](), list[Accept](), 0.0
    for number in range(300):
        now += 1.0
        match chance.choice(["accept", "take", "other", "read", "show"]):
            case "accept":
                one = accept(f"t{number}", now - chance.random() * 20, rank=chance.choice([0, 0, 1, 2]))
                made.accepts["s"].append(one)
                if chance.random() < 0.9:
                    one.end, one.input = now + chance.random() * 20, number
                elif chance.random() < 0.5:
                    continue
                queue.append(one)
            case "take" if queue:
                highest = max(one.rank for one in queue)
                rank = chance.choice([rank for rank in (0, 1, 2) if rank <= highest])
                one = next(one for one in queue if one.rank >= rank)
                queue.remove(one)
                log.append(received(int(one.what[1:]), one.what))
            case "read":
                after = chance.randint(0, len(log))
                start, end = now - chance.random() * 20, now + chance.random() * 20
                made.reads["s"].append(read(start, end, after, log[after:]))
            case "show" if log:
                seq = chance.randint(1, len(log))
                made.reads["s"].append(read(now, now, seq - 1, log[seq - 1 : seq], whole=False))
            case _:
                log.append(other("x"))
    log += [received(int(one.what[1:]), one.what) for one in sorted(queue, key=lambda one: -one.rank)]
    assert made.problems("s", log) == []
