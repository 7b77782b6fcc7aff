"""Analyse from its syntax what a shell command would do. Helps people decide: the sandbox is the isolation boundary."""

from roost.policy.command.verdict import Analysis, Category, Finding

__all__ = ["Analysis", "Category", "Finding", "analyse"]


def analyse(text: str, root: str = "", *, wary: bool = False) -> Analysis:
    """Analyse a line for a POSIX shell or bash, without running it or touching a file. root: the folder in which it
    starts, to relate absolute paths to it. wary: a `cd` may have failed in a line that continues regardless. Raises
    nothing."""
    from roost.policy.command import analysis  # loads tables and patterns that only commands need

    return analysis.analyse(text, root, wary=wary)
