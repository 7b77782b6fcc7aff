"""Hubs and other sources: folders, archives, git, HTTP, `.well-known/agent-skills`."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import uvicorn
from click.testing import CliRunner
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from roost import Agent, Runtime
from roost.errors import Conflict, NotFound
from roost.features.packages import fetching
from roost.features.packages.archive import PackageFile, PackageRefused, unpack
from roost.features.packages.commands import hub as hub_command
from roost.features.packages.fetching import FetchFailed, fetch, index_of, open_hub
from roost.features.packages.hub_server import hub_app
from roost.features.packages.manifest import read_package
from roost.testing.scripted import ScriptedModel

from .support import PUBLIC, archive, package, public, skill


@contextlib.asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await task


def publish(place: Path, *archives: bytes) -> None:
    hub = open_hub(str(place), make=True)
    for data in archives:
        hub.publish(read_package(unpack(data)))


async def test_a_folder_is_a_hub(tmp_path: Path) -> None:
    publish(
        tmp_path,
        archive(version="1.0.0"),
        archive(version="1.10.0"),
        archive(version="1.9.0"),
        public("internal-comms"),
    )
    publish(tmp_path, archive(version="1.9.0"))  # the same again
    with pytest.raises(Conflict, match="raise the version"):
        publish(tmp_path, archive(version="1.9.0", more='description = "other"\n'))
    index = await index_of(str(tmp_path))
    assert [(one.name, one.version) for one in index.packages] == [
        ("internal-comms", "0.0.0"),
        ("tools", "1.0.0"),
        ("tools", "1.9.0"),
        ("tools", "1.10.0"),
    ]
    assert [one.version for one in index.search("TOOLS")] == ["1.10.0"]
    assert [one.name for one in index.search("comms")] == ["internal-comms"]
    assert index.find("tools", "<1.10").version == "1.9.0"
    fetched = await fetch("tools", hub=str(tmp_path), wanted="^1.0.0")
    assert read_package(unpack(fetched.archive)).manifest.version == "1.10.0"
    again = await fetch(fetched.source)
    assert again == fetched
    for missing in ("other", "./other"):
        with pytest.raises(NotFound):
            await fetch(missing, hub=str(tmp_path))


async def test_a_hub_gives_the_version_that_its_index_says(tmp_path: Path) -> None:
    publish(tmp_path, archive())
    (entry,) = (tmp_path / "hub" / "entries" / "tools").iterdir()
    entry.write_bytes(entry.read_bytes().replace(b'"1.0.0"', b'"9.0.0"'))
    with pytest.raises(PackageRefused, match="other files"):
        await fetch("tools", hub=str(tmp_path))


async def test_publishers_at_once_agree(tmp_path: Path) -> None:
    """Of two contents of one version one counts, and whoever published it hears so."""
    ways = [archive(more=f'description = "{n}"\n') for n in range(6)]
    done = await asyncio.gather(*(asyncio.to_thread(publish, tmp_path, one) for one in ways), return_exceptions=True)
    assert sum(one is None for one in done) <= 1
    assert {type(one) for one in done} <= {type(None), Conflict}
    assert len((await index_of(str(tmp_path))).packages) == 1


async def test_a_hub_over_http(tmp_path: Path) -> None:
    publish(tmp_path, archive(), public("webapp-testing"))
    async with serving(hub_app(open_hub(str(tmp_path)))) as url:
        assert [one.name for one in (await index_of(url)).search("web")] == ["webapp-testing"]
        fetched = await fetch("webapp-testing", hub=url)
        assert fetched.source == f"hub:{url}#webapp-testing"
        assert read_package(unpack(fetched.archive)).skills == ("webapp-testing",)
        site = await fetch(f"{url}#webapp-testing")  # as other products read it
        assert "SKILL.md" in unpack(site.archive)
        with pytest.raises(NotFound, match="webapp-testing, pdf"):
            await fetch(url)
        with pytest.raises(NotFound):
            await fetch(f"{url}/packages/{'0' * 64}.tar.gz")
        with pytest.raises((NotFound, FetchFailed)):
            await fetch(f"{url}/packages/..%2f..%2fetc.tar.gz")


def site(answer: Callable[[Request], Response]) -> Starlette:
    return Starlette(routes=[Route("/{path:path}", answer)])


@pytest.mark.parametrize(
    "to",
    ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/x.zip", "file:///etc/passwd", "http://localhost:1/x"],
)
async def test_no_redirect_leads_into_a_private_network(to: str) -> None:
    async with serving(site(lambda request: RedirectResponse(to))) as url:
        with pytest.raises(FetchFailed):
            await fetch(f"{url}/a.zip")


async def test_no_index_leads_into_a_private_network() -> None:
    entry = {"name": "a", "type": "archive", "url": "http://10.1.2.3/a.zip", "digest": "sha256:0"}
    index = msgspec.json.encode({"skills": [entry]})
    async with serving(site(lambda request: Response(index))) as url:
        with pytest.raises(FetchFailed, match="not a public address"):
            await fetch(url)


async def test_what_a_site_sends_is_checked_by_its_digest() -> None:
    text = skill("a").data
    digests = {"right": hashlib.sha256(text).hexdigest(), "wrong": "0" * 64}
    entries = [
        {"name": name, "type": "skill-md", "url": "/SKILL.md", "digest": f"sha256:{digest}", "description": "x"}
        for name, digest in digests.items()
    ]

    def answer(request: Request) -> Response:
        return Response(text if request.url.path == "/SKILL.md" else msgspec.json.encode({"skills": entries}))

    async with serving(site(answer)) as url:
        assert read_package(unpack((await fetch(f"{url}#right")).archive)).skills == ("a",)
        with pytest.raises(PackageRefused, match="digest"):
            await fetch(f"{url}#wrong")


@pytest.mark.parametrize("answer", [b"", b"[]", b"{}", b'{"roost_hub":2,"packages":[]}', b"x" * (9 << 20)])
async def test_something_else_than_a_hub(answer: bytes) -> None:
    async with serving(site(lambda request: Response(answer))) as url:
        with pytest.raises(FetchFailed):
            await index_of(url)


def git(folder: Path, *words: str) -> None:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "HOME": str(folder)}
    names = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"]
    subprocess.run(["git", *names, *words], cwd=folder, env=env, check=True, capture_output=True)


async def test_a_git_repository_runs_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hook, filter, submodule or link of a repository has an effect."""
    repository, ran = tmp_path / "repo", tmp_path / "ran"
    repository.mkdir()
    git(repository, "init", "-q", "-b", "main")
    for path, text in (
        ("skills/pdf/SKILL.md", skill().data.decode()),
        ("skills/pdf/run.sh", "echo"),
        (".gitattributes", "* filter=evil export-subst\n"),
        (".gitmodules", f'[submodule "x"]\n\tpath = x\n\turl = ext::touch {ran}\n'),
    ):
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_text(text)
    os.symlink("/etc/passwd", repository / "skills/pdf/link")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "x")
    git(repository, "tag", "v1")
    for name in ("post-checkout", "post-merge", "reference-transaction", "pre-push"):
        hook = repository / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
        hook.chmod(0o755)
    git(repository, "config", "filter.evil.smudge", f"touch {ran}")
    git(repository, "config", "uploadpack.packObjectsHook", f"touch {ran}; true")
    for source in (f"git+file://{repository}", f"git+file://{repository}@v1"):
        files = unpack((await fetch(source)).archive)
        assert {path for path in files if path.startswith("skills")} == {"skills/pdf/SKILL.md", "skills/pdf/run.sh"}
    with monkeypatch.context() as patched:
        patched.setattr(fetching, "_LISTING", 10)
        with pytest.raises(FetchFailed, match="git says more than"):
            await fetch(f"git+file://{repository}")
    fetched = await fetch(f"git+file://{repository}#skills/pdf")
    assert read_package(unpack(fetched.archive), name=fetched.name).skills == ("pdf",)
    assert not ran.exists()
    for wrong in (f"git+ext::sh -c touch% {ran}", "git+http://x.example/a", f"git+file://{repository}@--upload-pack=x"):
        with pytest.raises(FetchFailed):
            await fetch(wrong)
    assert not ran.exists()


async def test_a_newcomer_from_an_empty_folder(tmp_path: Path) -> None:
    """Publish a skill with what it needs, search, install, use, update and remove it, by the command line."""
    home, place = tmp_path / "home", tmp_path / "hub"
    env = {"ROOST_HOME": str(home), "ROOST_HUB": str(place)}

    def run(*words: str) -> str:
        done = CliRunner().invoke(hub_command, [*words], env=env)
        assert done.exit_code == 0, (words, done.output, done.exception)
        return done.output

    def work() -> None:
        assert "published webapp-testing 0.0.0" in run("publish", str(PUBLIC / "webapp-testing"))
        folder = tmp_path / "mine"
        agent = PackageFile(b"---\ndescription: Tests.\ntools: [grep]\nskills: ['*']\n---\nTest it.\n")
        more = '[dependencies]\nwebapp-testing = "*"\n'
        for path, one in package("mine", more=more, agents__tester_md=agent).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(one.data)
        run("publish", str(folder))
        assert "webapp-testing" in run("search", "web")
        waits = run("install", "mine")
        assert "wants: agent tool: grep" in waits
        assert "roost hub accept mine --yes" in waits
        run("accept", "webapp-testing", "--yes")
        assert "mine 1.0.0 is installed" in run("accept", "mine", "--yes")
        assert [line.split()[:3] for line in run("list").splitlines()[1:]] == [
            ["mine", "1.0.0", "-"],
            ["webapp-testing", "0.0.0", "-"],
        ]
        lock = msgspec.json.decode(run("list", "--lock"))
        assert [one["source"] for one in lock["packages"]] == [f"hub:{place}#mine", f"hub:{place}#webapp-testing"]
        (folder / "roost-package.toml").write_text(
            'name = "mine"\nversion = "1.1.0"\n[permissions]\nsecrets = ["KEY"]\n'
        )
        run("publish", str(folder))
        assert "wants new: secret: KEY" in run("update", "mine")
        assert "1.1.0" in run("show", "mine")
        waits_on = CliRunner().invoke(hub_command, ["accept", "mine"], env=env, standalone_mode=False)
        assert (waits_on.return_value, "waits in quarantine" in waits_on.output) == (1, True)
        assert "removed the waiting version of mine" in run("reject", "mine")

    await asyncio.to_thread(work)
    agent = Agent("a", model=ScriptedModel(["ok"]), skills=["*"])
    async with Runtime(home, agents=[agent]) as runtime:
        session = await runtime.session("a")
        found = {one.name: one.place for one in (await runtime.skills.list(session.id)).skills}
        assert found == {"pdf": "package", "webapp-testing": "package"}
    assert (home / "packages/agents/tester.md").is_file()
    said = await asyncio.to_thread(run, "uninstall", "mine", "webapp-testing")
    assert said == "uninstalled mine\nuninstalled webapp-testing\n"
    assert list((home / "packages/agents").iterdir()) == []
