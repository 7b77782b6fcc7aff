"""Pin the bytes of new examples of events and inputs, and the shapes of the log and of snapshots:
`python -m tools.pin_events`.

Examples stand in `tests/log/test_events.py`. Their bytes are added to the end of the files in `tests/golden`; a line
that is there never changes. A shape is pinned once for each number: of the log for `FORMAT` in `roost/log/events.py`,
of snapshots for `STATE_VERSION` in `roost/agent/state.py`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from roost.agent.state import STATE_VERSION
from roost.log.events import FORMAT, encode_event
from roost.log.inputs import encode_input

GOLDEN = Path(__file__).parents[1] / "tests/golden"
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
    compatible = parser.parse_args().compatible
    pin(GOLDEN / "events.v1.jsonl", [encode_event(one) for one in EVENTS])
    pin(GOLDEN / "inputs.v1.jsonl", [encode_input(one) for one in INPUTS])
    pin_shape(GOLDEN, "log", FORMAT, log_shape(), compatible="log" in compatible)
    pin_shape(GOLDEN, "state", STATE_VERSION, state_shape(), compatible="state" in compatible)


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


if __name__ == "__main__":
    main()
