"""Rows of open and lost calls, the same in every store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from roost.log.ledger import CallNote, LostCall, OpenCall

LostRow: TypeAlias = tuple[str, float, int, int, int, str | None, bool, bytes, str | None, float]
LOST_COLUMNS = "id, lost_at, reserved, charged, cost, settled, told, note, provider_id, started"

encode_note = msgspec.json.Encoder().encode
_decode_note = msgspec.json.Decoder(CallNote).decode


def read_lost(row: Iterable[Any]) -> LostCall:
    """Read a `LostRow`. Numbers may have any numeric type of the database."""
    id, lost_at, reserved, charged, cost, settled, told, body, provider_id, _ = row
    note = _decode_note(body)
    return LostCall(
        id=id,
        lost_at=lost_at,
        reserved=int(reserved),
        charged=int(charged),
        cost=int(cost),
        settled=settled,
        told=bool(told),
        started=note.started,
        owner=note.owner,
        model=note.model,
        session=note.session,
        agent=note.agent,
        user=note.user,
        lasting=note.lasting,
        provider_id=provider_id,
    )


def lost_row(call: LostCall) -> LostRow:
    note = CallNote(
        owner=call.owner,
        started=call.started,
        model=call.model,
        session=call.session,
        agent=call.agent,
        user=call.user,
        lasting=call.lasting,
    )
    numbers = (call.reserved, call.charged, call.cost)
    rest = (call.settled, call.told, encode_note(note), call.provider_id, call.started)
    return call.id, call.lost_at, *numbers, *rest


def group_calls(rows: Iterable[Any], now: float, is_gone: Callable[[str], bool]) -> list[OpenCall]:
    """Group rows (id, budget, amount, note, cost, wall time of the last progress) into calls; rows of one id must be
    adjacent. `is_gone` is called once per owner."""
    found: dict[str, OpenCall] = {}
    gone: dict[str, bool] = {}
    for id, budget, amount, body, cost, beat_at in rows:
        if (call := found.get(id)) is None:
            note = None if body is None else _decode_note(body)
            idle = 0.0 if note is None else max(0.0, now - beat_at)
            if note is not None and note.owner not in gone:
                gone[note.owner] = is_gone(note.owner)
            call = OpenCall(id, {}, note, int(cost or 0), idle, note is None or gone[note.owner])
            found[id] = call
        call.amounts[budget] = int(amount)
    return list(found.values())


def amounts_by_id(rows: Iterable[Sequence[Any]]) -> dict[str, dict[str, int]]:
    """Group rows of (reservation, budget, amount)."""
    reservations: dict[str, dict[str, int]] = {}
    for id, budget, amount in rows:
        reservations.setdefault(id, {})[budget] = int(amount)
    return reservations
