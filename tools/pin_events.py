"""Pin the bytes of examples of events and inputs, and the shapes of the log and of snapshots: `python -m
tools.pin_events`.

Examples stand in `tests/log/test_events.py`. A kind without one gets an example made from the types of its fields. The
bytes of both are added to the end of the files in `tests/golden`; a line that is there never changes. An event that
docs/reference/events.md lacks gets a row there, from its docstring. A shape is pinned once for each number: of the log
for `FORMAT` in `roost/log/events.py`, of snapshots for `STATE_VERSION` in `roost/agent/state.py`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec

from roost.agent.state import STATE_VERSION
from roost.log import events as ev
from roost.log.events import encode_event
from roost.log.inputs import encode_input, input_types

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden"
PAGE = ROOT / "docs/reference/events.md"
FORMAT_LINE = ROOT / "src/roost/log/events.py"
CHANGED = (
    "The shape of the {0} is not the one that tests/golden pins for its number. If it has changed, an older node would"
    " read it wrongly: raise the number (of the log FORMAT in src/roost/log/events.py, of the state STATE_VERSION in"
    " src/roost/agent/state.py), then run `python -m tools.pin_events`. A field that no older node or snapshot misses,"
    " because no fold needs it or only new events set it, needs no new number: `python -m tools.pin_events --compatible"
    " {0}`."
)


def main() -> None:
    from tests.log.test_events import EVENTS, INPUTS, log_shape, state_shape

    parser = argparse.ArgumentParser(prog="pin_events", description="Pin persisted shapes.")
    parser.add_argument(
        "--compatible", choices=["log", "state"], action="append", default=[], help="pin a changed shape for its number"
    )
    parser.add_argument(
        "--new-format", action="store_true", help="raise FORMAT, for a log that older nodes cannot read"
    )
    given = parser.parse_args()
    number = raised(FORMAT_LINE) if given.new_format else ev.FORMAT
    pin(GOLDEN / "events.v1.jsonl", [encode_event(one) for one in EVENTS])
    pin(GOLDEN / "inputs.v1.jsonl", [encode_input(one) for one in INPUTS])
    pin_made(GOLDEN / "events.made.jsonl", {*ev.event_types()} - {type(one) for one in EVENTS}, encode_event)
    pin_made(GOLDEN / "inputs.made.jsonl", {*input_types()} - {type(one) for one in INPUTS}, encode_input)
    pin_shape(GOLDEN, "log", number, log_shape(), compatible="log" in given.compatible)
    pin_shape(GOLDEN, "state", STATE_VERSION, state_shape(), compatible="state" in given.compatible)
    add_rows(PAGE, ev.event_types())


def raised(path: Path) -> int:
    """Raise the number of the log's format in its source, and return it."""
    text, number = path.read_text(), ev.FORMAT + 1
    path.write_text(re.sub(r"^FORMAT = \d+$", f"FORMAT = {number}", text, count=1, flags=re.MULTILINE))
    return number


def pin(path: Path, lines: Sequence[bytes]) -> None:
    """Add the lines that the file has not. Raises `SystemExit` if one that it has is another now."""
    pinned = path.read_bytes().splitlines()
    if pinned != [*lines[: len(pinned)]]:
        raise SystemExit(
            f"{path.name}: pinned bytes would change. Add examples at the end; old logs must stay readable"
        )
    with path.open("ab") as file:
        file.writelines(line + b"\n" for line in lines[len(pinned) :])


def pin_shape(folder: Path, name: str, number: int, shape: bytes, *, compatible: bool = False) -> None:
    """Write the shape for its number in place of an older one. Raises `SystemExit` if another has this number, unless
    the change is `compatible`."""
    path = folder / f"{name}.v{number}.json"
    if path.exists() and path.read_bytes().strip() != shape and not compatible:
        raise SystemExit(CHANGED.format(name))
    for old in folder.glob(f"{name}.v*.json"):
        old.unlink()
    path.write_bytes(shape + b"\n")


def pin_made(path: Path, kinds: Collection[type[msgspec.Struct]], encode: Callable[[Any], bytes]) -> None:
    """Add an example of each kind that the file has none of."""
    pinned = path.read_bytes() if path.exists() else b""
    has = {msgspec.json.decode(line)["type"] for line in pinned.splitlines()}
    new = sorted((kind for kind in kinds if tag_of(kind) not in has), key=tag_of)
    if new:
        path.write_bytes(pinned + b"".join(encode(made(kind)) + b"\n" for kind in new))


def tag_of(kind: type[msgspec.Struct]) -> str:
    return str(kind.__struct_config__.tag)


def made(kind: type[msgspec.Struct]) -> Any:
    """Make an example with a value in every field, from the types of the fields."""
    return msgspec.json.decode(msgspec.json.encode(value_of(msgspec.inspect.type_info(kind), "")), type=kind)


def value_of(kind: Any, name: str) -> Any:
    """Return a value of the type, as JSON would hold it. name: of the field, which a text says."""
    match kind:
        case msgspec.inspect.LiteralType():
            return kind.values[-1]
        case msgspec.inspect.StructType():
            fields = {field.encode_name: value_of(field.type, field.name) for field in kind.fields}
            return {kind.tag_field: kind.tag, **fields} if kind.tag_field else fields
        case msgspec.inspect.UnionType():
            return value_of(next(one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType)), name)
        case msgspec.inspect.TupleType():
            return [value_of(one, name) for one in kind.item_types]
        case msgspec.inspect.DictType():
            return {name: value_of(kind.value_type, name)}
        case _ if isinstance(kind, msgspec.inspect.CollectionType):
            return [value_of(kind.item_type, name)]
        case _:
            plain = {"IntType": 2, "FloatType": 1.5, "BoolType": True, "BytesType": "AAE=", "AnyType": 1, "RawType": 1}
            return plain.get(type(kind).__name__, name)


def add_rows(page: Path, kinds: Sequence[type[ev.Event]]) -> None:
    """Add a row to the end of the page for each event that it lacks: its docstring's first sentence, its fields."""
    text = page.read_text()
    rows = [row_of(kind) for kind in kinds if f"`{tag_of(kind)}`" not in text]
    page.write_text(text.rstrip("\n") + "\n" + "".join(rows))


def row_of(kind: type[ev.Event]) -> str:
    about = (kind.__doc__ or "").split(". ")[0].rstrip(".").replace("\n    ", " ").replace("|", "\\|")
    fields = ", ".join(f"`{name}`" for name in kind.__struct_fields__ if name != "at")
    return f"| `{tag_of(kind)}` | {about} | {fields} |\n"


if __name__ == "__main__":
    main()
