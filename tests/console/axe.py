"""What axe-core finds on a page, and pictures of it."""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

_RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
}
WIDE, PHONE = {"width": 1280, "height": 800}, {"width": 360, "height": 740}


_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? null :
    [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
        .map((one) => one.outerHTML.slice(0, 120)).slice(0, 4)"""


def faults(page: Any) -> list[str]:
    """Return what axe-core finds, one line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    found = axe.run(page, options=_RULES).response["violations"]
    return [f"{one['id']}: {one['help']}: {node['html'][:160]}" for one in found for node in one["nodes"]]


def picture(page: Any, name: str) -> None:
    """Keep a picture of the page in the folder `ROOST_SCREENSHOTS`, if there is one."""
    if folder := os.environ.get("ROOST_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{re.sub('ses_[a-z0-9]+', 'S', name).replace('/', '_')}.png")


def check_access(page: Any, name: str) -> None:
    """Check what a page shows with axe-core, wide and light, and on a phone in the dark."""
    kept = page.viewport_size
    told: list[str] = []
    for scheme, size in (("light", WIDE), ("dark", PHONE)):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.wait_for_function("() => document.getAnimations().length === 0")
        picture(page, f"{name}-{scheme}")
        told += [f"{scheme} {size['width']}: {one}" for one in faults(page)]
        if wide := page.evaluate(_WIDE):
            told.append(f"{size['width']}: wider than the screen: {wide}")
        picture(page, f"{name}-{scheme}")
    page.set_viewport_size(kept)
    page.emulate_media(color_scheme="light")
    assert told == [], "\n".join(told)
