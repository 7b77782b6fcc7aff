"""An agent of the small framework beside it."""

from pathlib import Path

from tiny import Agent, Tool


def look(what):
    with Path("looked.txt").open("a") as file:
        file.write(f"{what}\n")
    return f"seen {what}"


def pay(amount):
    with Path("paid.txt").open("a") as file:
        file.write(f"{amount}\n")
    return f"paid {amount}"


agent = Agent([Tool(look), Tool(pay)])
