"""Small helpers of agents."""

from __future__ import annotations

import json
import re
from typing import Any


def _parse_json_output(response: Any) -> Any:  # pyright: ignore[reportUnusedFunction] - agents import it
    """Return the JSON of an answer, which may be in a fence. Raises `ValueError`."""
    if not isinstance(response, str):
        return response
    fenced = re.search(r"```(?:json)?\s*(.*?)```", response, re.DOTALL)
    return json.loads(fenced[1] if fenced else response)
