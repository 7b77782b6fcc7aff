"""An agent of CrewAI."""

from pathlib import Path

from crewai import Agent
from crewai.tools import tool


@tool("look")
def look(what: str) -> str:
    """Look at something."""
    with Path("looked.txt").open("a") as file:
        file.write(f"{what}\n")
    return f"seen {what}"


@tool("pay")
def pay(amount: int) -> str:
    """Pay an amount."""
    with Path("paid.txt").open("a") as file:
        file.write(f"{amount}\n")
    return f"paid {amount}"


def build():
    return Agent(role="Clerk", goal="Do what is asked.", backstory="A clerk.", tools=[look, pay], llm="gpt-4o-mini")
