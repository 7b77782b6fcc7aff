"""The conformance matrix: behaviours, and the wires that must show them.

`WireConformance` is the suite for your own wire; `python -m roost.testing.matrix` prints the table of all wires, and
can test a real server.
"""

from __future__ import annotations

from roost.testing.matrix.base import Behaviour, Cell, tried
from roost.testing.matrix.every import behaviours
from roost.testing.matrix.ground import NotHere, Real, Subject, subject, subjects

__all__ = ["Behaviour", "Cell", "NotHere", "Real", "Subject", "behaviours", "subject", "subjects", "tried"]
