"""Agents that do something late: one makes a tool while it works, one does not end after its answer."""

import os
import time
from pathlib import Path

import counting
from roost_bridge import tool

seen: list[str] = []


def making(text: str, history: list) -> str:
    @tool
    def give(what: str) -> str:
        Path("given.txt").write_text(what)
        return f"gave {what}"

    counting.FUNCTIONS["give"] = give
    return counting.answer(text, [])


def lasting(text: str, history: list) -> str:
    counting.answer(text, [])
    time.sleep(600)
    return "never said"


def telling(text: str, history: list) -> str:
    """Say who we are: the program, and the copy of it that does this run."""
    seen.append(text)
    return f"{os.getppid()} {os.getpid()} {len(seen)} {'OPENAI_API_KEY' in environ_of(os.getppid())}"


def environ_of(process: int) -> str:
    return Path(f"/proc/{process}/environ").read_bytes().decode(errors="replace")
