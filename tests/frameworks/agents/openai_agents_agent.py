"""An agent of the OpenAI Agents SDK, as its own quick start makes one."""

import time
from pathlib import Path

from agents import Agent, function_tool


@function_tool
def look(what: str) -> str:
    """Look at something."""
    with Path("looked.txt").open("a") as file:
        file.write(f"{what}\n")
    return f"seen {what}"


@function_tool
def pay(amount: int) -> str:
    """Pay an amount."""
    with Path("paid.txt").open("a") as file:
        file.write(f"{amount}\n")
    time.sleep(0.05)  # long enough for a kill
    return f"paid {amount}"


helper = Agent(name="Helper", instructions="You help. HELPER", tools=[look, pay])
other = Agent(name="Other", instructions="You are the other one.", handoff_description="the other one")
agent = Agent(
    name="Assistant",
    instructions="You are a helpful assistant.",
    tools=[look, pay, helper.as_tool("ask_helper", "Ask the helper.")],
    handoffs=[other],
)
