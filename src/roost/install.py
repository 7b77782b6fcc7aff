"""Name the command that installs an optional part of Roost."""

from __future__ import annotations

import sys
from pathlib import Path


def install_extra(extra: str) -> str:
    """Return the shell command that adds an extra to the running Roost, from the checkout or the address that it was
    installed from, since no package index has it. Reads one small file."""
    source, flag = _source(), ""
    if source is None:
        return f"{sys.executable} -m pip install '.[{extra}]' in a checkout of Roost"
    if Path(source).is_dir():
        flag, where = "-e ", f"{source}[{extra}]"
    else:
        where = f"roost[{extra}] @ {source}"
    return f"{sys.executable} -m pip install {flag}'{where}'"


def _source() -> str | None:
    """Return the folder or URL of the installation (PEP 610); None when unknown."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlsplit

    try:
        text = distribution("roost").read_text("direct_url.json")
        url = str(json.loads(text or "{}").get("url", ""))
    except (PackageNotFoundError, ValueError):
        return None
    parts = urlsplit(url)
    return unquote(parts.path) if parts.scheme == "file" else url or None
