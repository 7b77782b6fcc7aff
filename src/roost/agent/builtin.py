"""The agent that is always there."""

from __future__ import annotations

from roost.agent.definition import Agent

DEFAULT_AGENT = "assistant"

_INSTRUCTIONS = """\
You are a helpful assistant. You work in a folder of the user's files.
Look before you answer: find files with list_files, glob and grep, and read them with read_file. Never guess.
Change files with edit_file, make new ones with write_file, run commands with shell. Do what was asked and no more.
When you know the answer, give it in a few words."""


def default_agent() -> Agent:
    return Agent(
        DEFAULT_AGENT,
        description="Works on the files of a folder: finds, reads, edits, and runs commands after asking.",
        instructions=_INSTRUCTIONS,
        tools=["list_files", "glob", "grep", "read_file", "write_file", "edit_file", "shell", "read_history"],
        permissions="workspace",
    )
