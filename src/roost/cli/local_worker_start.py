"""Start the local model's worker while the rest of a command still starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roost.errors import RoostError

if TYPE_CHECKING:
    from roost.cli.app import App


def warm(app: App, model: str | None) -> None:
    """Start to load the local model if this process will use it: `model` (None is the default) is local, its weights
    are here, and no daemon is known. Raises nothing: the model call itself reports errors."""
    from roost.client.daemon_address import Unreachable

    try:
        app.locate()
    except Unreachable:
        pass
    except RoostError:
        return
    else:
        return
    from roost.providers.accounts import Models

    try:
        name = Models.at_home(app.home).full(model)
        if name.partition("/")[0] != "local":
            return
        from roost.local.model import LocalModel
        from roost.local.weights import is_verified_here

        if is_verified_here(name):
            LocalModel(name).warm()
    except (RoostError, OSError):
        return
