"""`python -m bench.console`: how long until the web console shows something?

A daemon has 10,000 sessions, and one of them 100,000 events. Chromium opens the list and that session, each time
with an empty cache. Needs Chromium on the PATH. Say what else runs on the machine when you report the numbers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.console.logs import as_file, turns

from bench.terminal import ROOST
from roost import Agent, Runtime

SESSIONS, TURNS = 10_000, 9_100
_PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.console", description=__doc__)
    parser.add_argument("--times", type=int, default=7)
    times = parser.parse_args().times
    with tempfile.TemporaryDirectory() as home:
        env = os.environ | {"ROOST_HOME": home, "ROOST_OFFLINE": "1", "ROOST_PORT": "0", "OPENAI_API_KEY": "x"}
        asyncio.run(_fill(Path(home)))
        log = Path(home) / "long.jsonl"
        log.write_bytes(as_file(turns(TURNS), "A long one"))
        daemon = subprocess.Popen([ROOST, "up", "--json"], env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        try:
            assert daemon.stdout is not None
            daemon.stdout.readline()
            said = subprocess.run([ROOST, "import", log, "--json"], env=env, capture_output=True, check=True).stdout
            print(f"load of the machine: {os.getloadavg()[0]:.1f}, processors: {len(os.sched_getaffinity(0))}")
            _measure(env, json.loads(said)["session"]["id"], times)
        finally:
            daemon.terminate()
            daemon.wait()


async def _fill(home: Path) -> None:
    async with Runtime(home, agents=[Agent("clerk")], durability="relaxed") as runtime:
        clerk = await runtime.sessions.named("clerk")
        for begin in range(0, SESSIONS, 200):
            tasks = range(begin, begin + 200)
            await asyncio.gather(*(runtime.sessions.create(clerk, title=f"Task number {n}") for n in tasks))


def _measure(env: dict[str, str], session: str, times: int) -> None:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = play.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        for what, view, shown in (
            (f"{SESSIONS:,} sessions", "/sessions", ".row:not(.head)"),
            ("a session of 100,000 events", f"/s/{session}", f"text='Answer {TURNS}'"),
        ):
            found = [_opened(browser, env, view, shown) for _ in range(times)]
            paints, wholes, again = zip(*found, strict=True)
            print(f"{what}: first paint {_shown(paints)}, content {_shown(wholes)}, from another view {_shown(again)}")
        browser.close()


def _shown(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} ms (most {max(values):.0f})"


def _opened(browser: Any, env: dict[str, str], view: str, shown: str) -> tuple[float, float, float]:
    """Open a view in a browser without a cache, signed in. Returns the milliseconds until the first paint, until what
    it is about is shown, and until this is shown when a person comes from another view."""
    link = subprocess.run([ROOST, "console", "--print"], env=env, capture_output=True, text=True, check=True).stdout
    url = next(word for word in link.split() if word.startswith("http"))
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.locator(".brand").wait_for()
    page.goto("about:blank")
    context.new_cdp_session(page).send("Network.clearBrowserCache")
    began = time.perf_counter()
    page.goto(f"{url.partition('#')[0]}#{view}", wait_until="commit")
    page.locator(shown).first.wait_for()
    whole = (time.perf_counter() - began) * 1000
    paint = float(page.evaluate(_PAINT))
    page.evaluate("location.hash = '#/settings'")
    page.locator(shown).first.wait_for(state="detached")
    began = time.perf_counter()
    page.evaluate("hash => { location.hash = hash }", f"#{view}")
    page.locator(shown).first.wait_for()
    again = (time.perf_counter() - began) * 1000
    context.close()
    return paint, whole, again


if __name__ == "__main__":
    main()
