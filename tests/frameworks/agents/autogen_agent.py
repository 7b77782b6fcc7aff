"""An agent of AutoGen."""

from pathlib import Path

from autogen_agentchat.agents import AssistantAgent
from autogen_ext.models.openai import OpenAIChatCompletionClient


def look(what: str) -> str:
    """Look at something."""
    with Path("looked.txt").open("a") as file:
        file.write(f"{what}\n")
    return f"seen {what}"


def pay(amount: int) -> str:
    """Pay an amount."""
    with Path("paid.txt").open("a") as file:
        file.write(f"{amount}\n")
    return f"paid {amount}"


def build():
    model = OpenAIChatCompletionClient(model="gpt-4o-mini")
    return AssistantAgent("assistant", model_client=model, tools=[look, pay], max_tool_iterations=10)
