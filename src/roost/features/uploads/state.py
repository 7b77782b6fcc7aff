"""Fold which files a session publishes. Copies into its workspace change nothing: what the model knows of files it has
read itself."""

from __future__ import annotations

from roost.agent.state import State
from roost.agent.state_parts import StatePart
from roost.features.uploads.events import FilesPlaced, FilesPublished, PublishingSet
from roost.log import events as ev


class UploadsState(StatePart):
    """publishes: the folder whose files are published; None for none. owner, keys: as in `PublishingSet`. published:
    the digest of each file that was, empty for one that failed. A fork publishes nothing until it is told."""

    publishes: str | None = None
    owner: str = ""
    keys: dict[str, str] = {}
    published: dict[str, str] = {}


def _placed(state: State, event: FilesPlaced) -> None:
    """Nothing folds from it."""


def _set(state: State, event: PublishingSet) -> None:
    part = state.part(UploadsState)
    part.publishes, part.owner, part.keys = event.folder, event.owner, event.keys


def _published(state: State, event: FilesPublished) -> None:
    part = state.part(UploadsState)
    part.published = {**part.published, **{one.path: one.digest for one in event.files}}


def _left(state: State, event: ev.SessionForked | ev.SessionImported) -> None:
    part = state.part(UploadsState)
    part.publishes, part.owner, part.keys, part.published = None, "", {}, {}


PART = UploadsState
FOLDS = {FilesPlaced: _placed, PublishingSet: _set, FilesPublished: _published}
WATCHES = {ev.SessionForked: _left, ev.SessionImported: _left}
