"""What a shell command would do, read from its syntax. Help for people: the sandbox is the boundary."""

from roost.policy.command.verdict import Analysis, Category, Finding

__all__ = ["Analysis", "Category", "Finding", "analyse"]


def analyse(text: str, root: str = "", *, wary: bool = False) -> Analysis:
    """Look at a line for a POSIX shell or bash; run nothing and touch no file. `root`: the folder in which it begins,
    to which absolute paths are compared. With `wary`, a `cd` may have failed where the line goes on all the same.
    Raises nothing."""
    from roost.policy.command import analysis  # tables and patterns, which only a command needs

    return analysis.analyse(text, root, wary=wary)
