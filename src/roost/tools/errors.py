"""The error by which a tool tells the model what went wrong."""

from __future__ import annotations


class ToolError(Exception):
    """Raised by a tool to tell the model what went wrong, in words for the model."""
