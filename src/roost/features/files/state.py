"""What the events of this feature mean for a session's state: nothing. They tell of its files, which a tool that
changes one looks at itself."""

from __future__ import annotations

from roost.agent.state import State
from roost.features.files.events import FileRestored, FileWritten


def changed(state: State, event: FileRestored | FileWritten) -> None:
    """The state has nothing of files."""


FOLDS = {FileRestored: changed, FileWritten: changed}
