"""What a hosted adapter of termo-agent keeps between turns, and finds again when a turn runs once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roost.features.frameworks.installations import RUNNER


@pytest.fixture
def hosting(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(RUNNER))
    from roost_bridge.adapters import termo_agent  # type: ignore[import-not-found]

    return termo_agent


def test_a_run_that_begins_once_more_finds_its_folder_as_it_was(hosting: Any, tmp_path: Path) -> None:
    seed = str(tmp_path / "source" / "data")
    (tmp_path / "source" / "data").mkdir(parents=True)
    (tmp_path / "source" / "data" / "SOUL.md").write_text("kind")
    folder = tmp_path / "home" / ".termo-agent"
    for _ in range(2):
        hosting.kept_folder.begin(str(folder), "1-1", seed)
        assert [one.name for one in folder.iterdir()] == ["SOUL.md"]
        (folder / "half").write_text("a turn that was cut off")
    before = Path(f"{folder}.before")
    (before / "2-1.new").mkdir()  # a copy that was cut off counts for nothing
    (folder / "SOUL.md").write_text("kinder")
    for _ in range(2):
        hosting.kept_folder.begin(str(folder), "2-1", seed)
        assert (folder / "SOUL.md").read_text() == "kinder"
        assert (folder / "half").exists()
        (folder / "half").unlink()
    assert [one.name for one in before.iterdir()] == ["2-1"]


class Kept:
    def __init__(self) -> None:
        self.sessions: dict[str, Any] = {}
        self.plain, self.pair, self.model = "a", (1, 2), object()


def test_attributes_are_set_again_and_the_log_has_the_history_once(hosting: Any) -> None:
    one, history = Kept(), [{"role": "user", "content": "hello"}]
    fresh = hosting.plain_attributes(one)
    assert fresh == {"sessions": {}, "plain": "a"}
    one.sessions["k"], one.sessions["other"], one.plain = history, [1], "b"
    kept = {name: value for name, value in hosting.plain_attributes(one).items() if fresh[name] != value}
    told = [{"attributes": about} for about in hosting._told(kept, history)]
    assert "hello" not in str(told)
    again = Kept()
    held = again.sessions
    hosting.put_back(again, [*told, *({"history": said} for said in history)])
    assert again.sessions is held
    assert (again.sessions, again.plain, again.pair) == (one.sessions, "b", (1, 2))


def test_a_public_prefix_stands_for_whole_parts_of_a_path(hosting: Any) -> None:
    class Adapter:
        def public_route_prefixes(self) -> list[str]:
            return ["/health", "/files/"]

        def is_public_request(self, path: str) -> bool:
            return path == "/app/x y"

    paths = ("/health", "/health/x", "/healthXYZ", "/files/a", "/files", "/app/x%20y")
    assert [hosting.public(Adapter(), path) for path in paths] == [True, True, False, True, False, True]
