"""What one account keeps has bounds, and another account has its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from roost.errors import TooLarge
from roost.features.skills.uploaded import ACCOUNT_VERSIONS, UploadedSkills
from roost.stores.sqlite.store import open_sqlite

pytestmark = pytest.mark.long
SKILL = {"greeting/SKILL.md": b"---\nname: greeting\ndescription: Greets.\n---\nSay hello.\n"}


async def test_an_account_keeps_so_many_versions_of_skills(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "roost.db")
    try:
        skills = UploadedSkills(store.documents, tmp_path)
        made = await skills.make("alice", SKILL, None)
        for _ in range(ACCOUNT_VERSIONS - 1):
            await skills.add_version(made, SKILL)
        with pytest.raises(TooLarge, match="delete some") as refused:
            await skills.add_version(made, SKILL)
        assert refused.value.code == "skills_full"
        with pytest.raises(TooLarge):
            await skills.make("alice", SKILL, None)
        await skills.make("bob", SKILL, None)
        await skills.make("", SKILL, None)  # the home itself
        await skills.delete_version((await skills.of_skill(made.id))[0])
        await skills.add_version(made, SKILL)
    finally:
        await store.close()
