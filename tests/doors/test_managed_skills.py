"""Skills over the Managed Agents API: uploaded, versioned, pinned by agents, and used by their sessions alone."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from tests.doors.test_managed import say, until_idle
from tests.server.accounts import tenant
from tests.server.conftest import Served

from roost.errors import Conflict, NotFound
from roost.features.skills.folders import UPLOADED
from roost.features.skills.uploaded import UploadedSkills
from roost.log.documents import DocumentQuery
from roost.stores.sqlite.store import open_sqlite
from roost.stub.script import Reply, Rule, Script
from roost.testing.scripted import Call

USE = (Reply(calls=(Call("use_skill", {"name": "greeting"}),)), Reply(text="{result}"))
FILE = (Reply(calls=(Call("read_skill_file", {"name": "greeting", "path": "more/b.md"}),)), Reply(text="{result}"))
SCRIPT = Script(rules=(Rule(when="greet", answers=USE), Rule(when="more", answers=FILE)))


@pytest.fixture
def client(served: Served) -> Iterator[Any]:
    with anthropic.Anthropic(base_url=served.url, api_key=served.token, max_retries=0) as made:
        yield made


def files(text: str, name: str = "greeting", **more: str) -> list[Any]:
    main = f"---\nname: {name}\ndescription: Greets people.\n---\n{text}\n"
    given = [(f"{name}/SKILL.md", main.encode(), "text/markdown")]
    return given + [(f"{name}/{path}", body.encode(), "text/plain") for path, body in more.items()]


def session_of(client: Any, **agent: Any) -> Any:
    made = client.beta.agents.create(name="a", model="one/m", **agent)
    environment = client.beta.environments.create(name="e")
    return client.beta.sessions.create(agent=made.id, environment_id=environment.id)


def said(client: Any, session: Any, text: str) -> str:
    say(client, session.id, text)
    return next(one.content[0].text for one in until_idle(client, session.id) if one.type == "agent.message")


def test_a_session_uses_the_version_that_its_agent_pins(served: Served, client: Any) -> None:
    skill = client.beta.skills.create(files=files("Say Ahoy!", **{"more/b.md": "a second page"}))
    assert (skill.display_name, skill.source) == ("greeting", "custom")
    given = [{"type": "custom", "skill_id": skill.id}]
    session = session_of(client, skills=given)
    assert (session.agent.skills[0].skill_id, session.agent.skills[0].version) == (skill.id, skill.latest_version_id)
    assert "Say Ahoy!" in said(client, session, "greet me")
    assert "a second page" in said(client, session, "more of it")
    newer = client.beta.skills.versions.create(skill.id, files=files("Say Moin!"))
    assert client.beta.skills.retrieve(skill.id).latest_version_id == newer.id
    assert "Say Ahoy!" in said(client, session, "greet me")
    assert "Say Moin!" in said(client, session_of(client, skills=given), "greet me")
    shutil.rmtree(served.home / "uploaded-skills")
    again = session_of(client, skills=[{**given[0], "version": skill.latest_version_id}])
    assert "Say Ahoy!" in said(client, again, "greet me"), "what a node lost it unpacks again"
    assert "there is no tool" in said(client, session_of(client), "greet me"), "another agent sees none"


def test_versions_are_listed_downloaded_and_deleted(client: Any) -> None:
    skill = client.beta.skills.create(files=files("one"), display_name="Greeting")
    second = client.beta.skills.versions.create(skill.id, files=files("two"))
    assert [one.id for one in client.beta.skills.versions.list(skill.id)] == [second.id, skill.latest_version_id]
    archive = zipfile.ZipFile(io.BytesIO(client.beta.skills.versions.download(second.id, skill_id=skill.id).read()))
    assert b"two" in archive.read("greeting/SKILL.md")
    assert client.beta.skills.versions.delete(second.id, skill_id=skill.id).id == second.id
    assert client.beta.skills.retrieve(skill.id).latest_version_id == skill.latest_version_id
    with pytest.raises(anthropic.ConflictError, match="at least one version"):
        client.beta.skills.versions.delete(skill.latest_version_id, skill_id=skill.id)
    with pytest.raises(anthropic.NotFoundError):
        client.beta.skills.versions.retrieve(second.id, skill_id=skill.id)
    with pytest.raises(anthropic.BadRequestError, match="that of the skill"):
        client.beta.skills.versions.create(skill.id, files=files("x", name="other"))
    assert [one.id for one in client.beta.skills.list()] == [skill.id]
    assert client.beta.skills.delete(skill.id).type == "skill_deleted"
    assert list(client.beta.skills.list()) == []
    with pytest.raises(anthropic.NotFoundError):
        client.beta.agents.create(name="a", model="one/m", skills=[{"type": "custom", "skill_id": skill.id}])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([("SKILL.md", b"---\nname: a\ndescription: b\n---\n", "text/markdown")], "all in one folder"),
        ([("../a/SKILL.md", b"x", "text/markdown")], "all in one folder"),
        ([*files("x"), ("greeting/../../b", b"x", "text/plain")], "all in one folder"),
        ([*files("x"), ("other/b", b"x", "text/plain")], "all in one folder"),
        ([*files("x"), *files("x")], "twice"),
        ([*files("x"), (f"greeting/{'a' * 256}", b"x", "text/plain")], "plain relative paths"),
        (
            [*files("x"), ("greeting/a", b"x", "text/plain"), ("greeting/a/b", b"x", "text/plain")],
            "a file and a folder",
        ),
        ([("greeting/a.md", b"x", "text/plain")], "has no SKILL.md"),
        ([("greeting/SKILL.md", b"x", "text/markdown")], "frontmatter"),
        ([("greeting/SKILL.md", b"\xff", "text/markdown")], "UTF-8"),
        (files("x", name="Not-A-Name"), "name"),
        ([("greeting/SKILL.md", b"---\nname: greeting\n---\nx", "text/markdown")], "description"),
    ],
)
def test_what_is_no_skill_is_refused(client: Any, given: Any, why: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=why):
        client.beta.skills.create(files=given)


async def test_versions_that_come_and_go_at_once(tmp_path: Path) -> None:
    """Two deletions at once left a skill without a version, and a version that came late stayed for ever."""
    store = await open_sqlite(tmp_path / "roost.db")
    kept, main = UploadedSkills(store.documents, tmp_path), b"---\nname: greeting\ndescription: Greets.\n---\n"
    skill = await kept.make("", {"greeting/SKILL.md": main}, None)
    await kept.add_version(skill, {"greeting/SKILL.md": main + b"newer"})
    both = [kept.delete_version(one) for one in await kept.of_skill(skill.id)]
    (refused,) = (one for one in await asyncio.gather(*both, return_exceptions=True) if one is not None)
    assert isinstance(refused, Conflict)
    (left,) = await kept.of_skill(skill.id)
    assert (await kept.skills.get(skill.id)).latest == left.id
    await kept.delete(skill)
    with pytest.raises(NotFound):
        await kept.add_version(skill, {"greeting/SKILL.md": main})
    for kind in ("skill.uploaded", "skill.version", "skill.piece"):
        assert not await store.documents.find(DocumentQuery(kind=kind)), kind
    await store.close()


async def test_what_is_being_unpacked_stays_until_it_is_old(tmp_path: Path) -> None:
    store = await open_sqlite(tmp_path / "roost.db")
    fresh, old, gone = (tmp_path / UPLOADED / name for name in (".skver_1.new_1", ".skver_2.new_2", "skver_3"))
    for one in (fresh, old, gone):
        (one / "greeting").mkdir(parents=True)
    os.utime(old, (0, 0))
    await UploadedSkills(store.documents, tmp_path).tidy()
    assert [one.exists() for one in (fresh, old, gone)] == [True, False, False]
    await store.close()


def test_a_skill_is_of_one_size_and_of_one_account(served: Served, client: Any) -> None:
    large = [*files("x"), ("greeting/a.bin", b"\0" * (9 << 20), "application/octet-stream")]
    with pytest.raises(anthropic.APIStatusError) as error:
        client.beta.skills.create(files=large)
    assert error.value.status_code == 413
    tenant(served, "alice")
    bob = tenant(served, "bob")
    skill = client.beta.skills.create(files=files("Say Ahoy!"))
    asked = {"Anthropic_Version": "2023-06-01"}
    for verb, path in (("GET", ""), ("DELETE", ""), ("GET", "/versions"), ("GET", "/versions/latest/content")):
        assert bob.request(verb, f"/v1/skills/{skill.id}{path}", **asked).status == 404, path
    assert bob.request("GET", "/v1/skills", **asked).json["data"] == []
    given = {"name": "a", "model": "one/m", "skills": [{"type": "custom", "skill_id": skill.id}]}
    assert bob.request("POST", "/v1/agents", given, **asked).status == 404
