"""The tools that every agent may be given."""

from __future__ import annotations

from functools import cache

from roost.tools.base import Tool


def builtin_tools() -> dict[str, Tool]:
    """The built-in tools by name. Built at the first call."""
    return dict(_built())


@cache
def _built() -> dict[str, Tool]:
    from roost.tools.agents import cancel_task, list_agents, message_agent, task
    from roost.tools.browse import glob, list_files
    from roost.tools.code import analyze_code
    from roost.tools.edit import edit_file
    from roost.tools.edit_files import edit_files
    from roost.tools.git import git_read, git_write
    from roost.tools.grep import grep
    from roost.tools.history import read_history
    from roost.tools.memory import forget, recall, remember, update_memory
    from roost.tools.pins import pin, unpin
    from roost.tools.plan import plan
    from roost.tools.python import python
    from roost.tools.read import read_file
    from roost.tools.shell import shell
    from roost.tools.shell_jobs import shell_output, shell_start, shell_stop
    from roost.tools.web.fetch import web_fetch
    from roost.tools.web.search import web_search
    from roost.tools.write import write_file

    files = (read_file, write_file, edit_file, edit_files, list_files, glob, grep, analyze_code)
    own = (read_history, pin, unpin, plan, remember, recall, update_memory, forget)
    others = (task, cancel_task, list_agents, message_agent)
    running = (shell, shell_start, shell_output, shell_stop, python)
    return {tool.name: tool for tool in (*running, *files, git_read, git_write, web_fetch, web_search, *own, *others)}
