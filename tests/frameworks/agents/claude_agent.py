"""An agent of the Claude Agent SDK, with tools of its own."""

from pathlib import Path

from claude_agent_sdk import ClaudeAgentOptions, create_sdk_mcp_server, tool


@tool("look", "Look at something.", {"what": str})
async def look(given):
    with Path("looked.txt").open("a") as file:
        file.write(f"{given['what']}\n")
    return {"content": [{"type": "text", "text": f"seen {given['what']}"}]}


@tool("pay", "Pay an amount.", {"amount": int})
async def pay(given):
    with Path("paid.txt").open("a") as file:
        file.write(f"{given['amount']}\n")
    return {"content": [{"type": "text", "text": f"paid {given['amount']}"}]}


options = ClaudeAgentOptions(mcp_servers={"own": create_sdk_mcp_server("own", tools=[look, pay])})
