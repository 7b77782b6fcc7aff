"""An agent of Pydantic AI."""

import time
from pathlib import Path

from pydantic_ai import Agent

agent = Agent("openai:gpt-4o-mini", instructions="Be concise.", defer_model_check=True)


@agent.tool_plain
def look(what: str) -> str:
    """Look at something."""
    with Path("looked.txt").open("a") as file:
        file.write(f"{what}\n")
    return f"seen {what}"


@agent.tool_plain
def pay(amount: int) -> dict:
    """Pay an amount."""
    with Path("paid.txt").open("a") as file:
        file.write(f"{amount}\n")
    time.sleep(0.05)  # long enough for a kill
    return {"paid": amount}
