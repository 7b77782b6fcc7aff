"""The built-in default agent."""

from __future__ import annotations

from roost.agent.definition import Agent

DEFAULT_AGENT = "assistant"

_INSTRUCTIONS = """\
You are a helpful assistant. You work in a folder of the user's files.
What only these files can tell, look up with grep, glob, list_files and read_file before you answer. Never guess:
what the files do not say, say so. Change files with edit_file, make new ones with write_file, run commands with shell,
do sums with calculate. Do what was asked and no more. When you know the answer, give it in a few words."""


def default_agent() -> Agent:
    return Agent(
        DEFAULT_AGENT,
        description="Works on the files of a folder: finds, reads, edits, and runs commands.",
        instructions=_INSTRUCTIONS,
        tools=[
            "list_files",
            "glob",
            "grep",
            "read_file",
            "write_file",
            "edit_file",
            "shell",
            "calculate",
            "read_history",
        ],
        environment=["clock", "files", "instructions"],
        skills=["*"],
        permissions="workspace",
    )
