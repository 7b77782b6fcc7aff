"""The version of the installed package."""

from __future__ import annotations

from roost.version import version as version
