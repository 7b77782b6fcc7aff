"""What a shell command would do, read from its syntax. Help for people: the sandbox is the boundary."""

from roost.policy.command.analysis import Analysis, Category, Finding, analyse

__all__ = ["Analysis", "Category", "Finding", "analyse"]
