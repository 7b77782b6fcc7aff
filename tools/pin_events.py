"""Pin the bytes of new examples of events and inputs: `python -m tools.pin_events`.

Examples stand in `tests/log/test_events.py`. Their bytes are added to the end of the files in `tests/golden`; a line
that is there never changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from roost.log.events import encode_event
from roost.log.inputs import encode_input

GOLDEN = Path(__file__).parents[1] / "tests/golden"


def main() -> None:
    from tests.log.test_events import EVENTS, INPUTS

    pin(GOLDEN / "events.v1.jsonl", [encode_event(one) for one in EVENTS])
    pin(GOLDEN / "inputs.v1.jsonl", [encode_input(one) for one in INPUTS])


def pin(path: Path, lines: Sequence[bytes]) -> None:
    """Add the lines that the file has not. Raises `SystemExit` if one that it has is another now."""
    pinned = path.read_bytes().splitlines()
    if pinned != [*lines[: len(pinned)]]:
        raise SystemExit(
            f"{path.name}: pinned bytes would change. Add examples at the end; old logs must stay readable"
        )
    with path.open("ab") as file:
        file.writelines(line + b"\n" for line in lines[len(pinned) :])


if __name__ == "__main__":
    main()
