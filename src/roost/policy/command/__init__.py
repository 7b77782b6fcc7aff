"""What a shell command would do, read from its syntax. Help for people: the sandbox is the boundary."""

from roost.policy.command.answer import Analysis, Category, Finding

__all__ = ["Analysis", "Category", "Finding", "analyse"]


def analyse(text: str) -> Analysis:
    """Looks at a line for a POSIX shell or bash; runs nothing and touches no file. Raises nothing."""
    from roost.policy.command import analysis  # tables and patterns, for who runs a command

    return analysis.analyse(text)
