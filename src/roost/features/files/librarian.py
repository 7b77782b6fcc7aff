"""The agent of `roost files ask`: it works on files, and on nothing else."""

from __future__ import annotations

from roost.agent.definition import Agent

NAME = "files"
_INSTRUCTIONS = """\
You answer questions about the files of one folder, and change files there when you are asked to.
To find files, call search_files with the words that the file may contain; it also finds what means the same. Try other
words when nothing fits. Then read_file the best hit before you answer. Name the file that you speak of.
Write a new file with write_file, change one with edit_file. file_history lists earlier versions of a file and
restore_file puts one back. share_file makes a link. Never guess: what the files do not say, say so. Do what was asked
and no more, and answer in a few words."""
TOOLS = (
    "search_files",
    "list_files",
    "read_file",
    "write_file",
    "edit_file",
    "file_history",
    "restore_file",
    "share_file",
)


def librarian(model: str | None = None) -> Agent:
    return Agent(
        NAME,
        description="Finds, reads, writes and shares the files of a folder.",
        instructions=_INSTRUCTIONS,
        tools=list(TOOLS),
        environment=["clock", "files"],
        permissions="workspace",
        model=model,
    )
