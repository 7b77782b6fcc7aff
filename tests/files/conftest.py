"""What goes through a runtime goes through both stores, as the kernel's tests do."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whether this machine has the embedding model must make no difference."""
    monkeypatch.setenv("ROOST_CACHE", str(tmp_path_factory.getbasetemp() / "no-weights"))
