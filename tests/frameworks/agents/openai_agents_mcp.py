"""An agent of the OpenAI Agents SDK that has tools of Roost, by its MCP client."""

import os

from agents import Agent
from agents.mcp import MCPServerStreamableHttp

headers = {"Authorization": f"Bearer {os.environ['ROOST_MCP_KEY']}"}
roost = MCPServerStreamableHttp({"url": os.environ["ROOST_MCP_URL"], "headers": headers}, name="roost")
agent = Agent(name="Assistant", instructions="You remember things.", mcp_servers=[roost])
