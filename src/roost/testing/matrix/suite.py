"""The conformance suite of a wire, for pytest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from roost.testing.matrix.base import tried
from roost.testing.matrix.every import behaviours
from roost.testing.matrix.ground import Real, Subject, subjects


class WireConformance:
    """Every behaviour of one wire. Subclass it, name the wire and run it with pytest:

        class TestMyWire(WireConformance):
            def subject(self) -> Subject:
                return Subject(name="mine", wire=MyWire, dialect=MyDialect())

    `others`: wires that conversations move to, by default all that are registered.
    """

    def subject(self) -> Subject:
        raise AssertionError("say which wire: override subject()")

    def others(self) -> Sequence[Subject]:
        return subjects()

    def real(self) -> Real | None:
        """Return the server to test instead of the stub."""
        return None

    @pytest.mark.parametrize("behaviour", behaviours(), ids=lambda one: one.name)
    async def test_behaviour(self, behaviour: object) -> None:
        cell = await tried(behaviour, self.subject(), self.others(), self.real())  # type: ignore[arg-type]
        if cell.verdict == "skip":
            pytest.skip(cell.why)
        assert cell.verdict == "ok", cell.why
