"""Stands for the tool `demo_author/arxiv` of the hub: it has one article, and notes that it was asked."""

from pathlib import Path

from cerebrum.tool.base import BaseTool


class Arxiv(BaseTool):
    def run(self, params):
        with Path("asked.txt").open("a") as file:
            file.write(params["query"] + "\n")
        return f"an article about {params['query']}"

    def get_tool_call_format(self):
        about = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
        named = {"name": "demo_author/arxiv", "description": "Search articles.", "parameters": about}
        return {"type": "function", "function": named}
