"""The commands of a first hour: an account, variables, a project, completion, and where values come from."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from roost.stub.provider import ProviderServer
from roost.stub.script import Script
from tests.cli.conftest import Machine


@pytest.fixture
def fresh(roost: Machine) -> Machine:
    """A machine without a key and without a model."""
    for name in ("ROOST_MODEL", "OPENAI_API_KEY"):
        roost.env.pop(name, None)
    return roost


def test_setup_checks_a_key_keeps_it_and_names_the_model(fresh: Machine) -> None:
    done = fresh("setup", "openai", stdin="sk-right\n").ok()
    assert "openai answers" in done.err
    assert "agents without a model of their own use openai" in done.out
    key = fresh.home / "keys" / "openai"
    assert key.read_text() == "sk-right\n"
    assert key.stat().st_mode & 0o777 == 0o600
    assert tomllib.loads((fresh.home / "models.toml").read_text())["accounts"]["openai"]["key"] == f"file:{key}"
    assert "sk-right" not in done.out + done.err
    assert "You said: hello" in fresh("run", "-m", "openai/scripted", "hello").ok().out


def test_setup_asks_in_a_terminal_and_shows_no_key(fresh: Machine) -> None:
    terminal = fresh.terminal("setup")
    terminal.expect("Account")
    terminal.type("openai\n")
    terminal.expect("can be used here as it is. Keep that?")  # its server asks for no key
    terminal.type("n\n")
    terminal.expect("Key of openai")
    terminal.type("sk-typed\n")
    shown = terminal.expect("try it: roost run")
    assert "sk-typed" not in shown
    assert (fresh.home / "keys" / "openai").read_text() == "sk-typed\n"


def test_setup_asks_again_after_a_wrong_name_and_a_refused_key(fresh: Machine) -> None:
    with ProviderServer(Script(), key="sk-right") as strict:
        fresh.env["OPENAI_BASE_URL"] = strict.url
        terminal = fresh.terminal("setup")
        terminal.expect("Account")
        terminal.type("opnai\n")
        terminal.expect("did you mean openai?")
        terminal.type("openai\n")
        terminal.expect("Keep that?")
        terminal.type("n\n")
        terminal.expect("Key of openai")
        terminal.type("sk-wrong\n")
        terminal.expect("Give another key?")
        terminal.type("y\n")
        terminal.expect("Key of openai")
        terminal.type("sk-right\n")
        terminal.expect("try it: roost run")
    assert (fresh.home / "keys" / "openai").read_text() == "sk-right\n"


def test_setup_keeps_nothing_when_the_account_does_not_answer(fresh: Machine) -> None:
    fresh.env["OPENAI_BASE_URL"] = "http://127.0.0.1:9/v1"
    done = fresh("setup", "openai", stdin="sk-wrong\n")
    assert done.code == 1
    assert "nothing was kept" in done.err
    assert "cannot connect to 127.0.0.1:9: " in done.err
    assert "object at" not in done.err
    assert not (fresh.home / "keys").exists()
    assert "kept the key" in fresh("setup", "openai", "--no-check", stdin="sk-wrong\n").ok().err


def test_setup_refuses_what_it_cannot_use(fresh: Machine) -> None:
    assert "name the account" in fresh("setup").err
    assert "there is no account 'nobody'" in fresh("setup", "nobody", stdin="k").err
    assert "no key was given" in fresh("setup", "openai", stdin="\n").err
    assert "letter that no key has" in fresh("setup", "openai", stdin="schlüssel").err
    assert not (fresh.home / "models.toml").exists()


def test_setup_changes_the_default_model_and_leaves_other_lines(fresh: Machine) -> None:
    fresh.home.mkdir(mode=0o700, parents=True)
    file = fresh.home / "models.toml"
    file.write_text('# mine\ndefault = "local"  # small\n\n[accounts.other]\nbase_url = "http://127.0.0.1:9/v1"\n')
    said = fresh("setup", "openai", "--model", "openai/scripted", "--no-check", stdin="k").ok().out
    assert "use openai/scripted" in said
    text = file.read_text()
    assert text.startswith('# mine\ndefault = "openai/scripted"\n')
    assert tomllib.loads(text)["accounts"]["other"]["base_url"] == "http://127.0.0.1:9/v1"
    assert fresh("setup", "openai", "--model", "scripted", "--no-check", stdin="k").code == 2
    assert (fresh.home / "keys" / "openai").exists()
    fresh("setup", "openai", "--model", 'openai/an"other', "--no-check", stdin="").ok()
    assert tomllib.loads(file.read_text())["default"] == 'openai/an"other'
    fresh("setup", "openai", "--model", "openai/other", "--no-check", stdin="").ok()
    assert (fresh.home / "keys" / "openai").read_text() == "k\n"
    assert tomllib.loads(file.read_text())["default"] == "openai/other"


def test_what_setup_and_env_write_is_for_its_owner_alone_and_links_stay(fresh: Machine, tmp_path: Path) -> None:
    fresh("setup", "openai", "--no-check", stdin="k").ok()
    for place in (fresh.home, fresh.home / "keys", fresh.home / "keys" / "openai", fresh.home / "models.toml"):
        assert place.stat().st_mode & 0o077 == 0, place
    elsewhere = tmp_path / "elsewhere"
    for name in ("models.toml", "env"):
        (fresh.home / name).touch(0o600)
        (fresh.home / name).rename(elsewhere.with_suffix(f".{name}"))
        (fresh.home / name).symlink_to(elsewhere.with_suffix(f".{name}"))
    fresh("setup", "openai", "--no-check", "--model", "openai/scripted", stdin="").ok()
    fresh("env", "set", "A_KEY", stdin="typed\n").ok()
    assert (fresh.home / "models.toml").is_symlink()
    assert (fresh.home / "env").is_symlink()
    assert elsewhere.with_suffix(".env").read_text() == "A_KEY=typed\n"
    assert sorted(one.name for one in fresh.home.glob(".*")) == []


def test_no_password_is_listed(fresh: Machine) -> None:
    told = fresh("env", "set", "DATABASE_URL=postgres://ann:hidden@db/x?sslpassword=hidden", "DB_PASS=hidden").ok().err
    assert "`roost env set DB_PASS` asks for the value" in told
    assert "hidden" not in fresh("env", "list").ok().out
    fresh.env["ROOST_STORE"] = "postgres://db/x?user=ann&password=hidden"
    assert "hidden" not in fresh("config").ok().out


def test_variables_of_the_home_count_in_each_command_and_the_shell_wins(fresh: Machine) -> None:
    fresh("env", "set", "ROOST_MODEL=openai/scripted", "OPENAI_API_KEY=sk-of-the-home-123456").ok()
    assert (fresh.home / "env").stat().st_mode & 0o777 == 0o600
    listed = fresh("env", "list").ok().out
    assert "…3456" in listed
    assert "sk-of" not in listed
    assert "You said: hi" in fresh("run", "hi").ok().out
    rows = {one["setting"]: (one["value"], one["from"]) for one in fresh("config", "--help").ok() and _config(fresh)}
    assert rows["model"][0] == "openai/scripted"
    assert "roost env" in rows["model"][1]
    assert "roost env" in rows["key of openai"][1]
    fresh.env["ROOST_MODEL"] = "local"
    assert {one["setting"]: one["from"] for one in _config(fresh)}["model"] == "ROOST_MODEL, environment"
    fresh("env", "unset", "ROOST_MODEL").ok()
    assert fresh("env", "unset", "ROOST_MODEL").code == 2
    assert "sk-of-the-home" not in fresh("config").ok().out


def _config(roost: Machine) -> list[dict[str, str]]:
    return roost("config", "show", "--json").ok().json


@pytest.mark.parametrize("given", ["ROOST_HOME=/srv/x", "A B=1", "=1", "ROOST_TOKEN=t", "NAME=a\nb", "NAME=a\u2028B=c"])
def test_a_variable_that_the_file_cannot_hold_is_refused(fresh: Machine, given: str) -> None:
    assert fresh("env", "set", given).code == 1
    assert not (fresh.home / "env").exists()


@pytest.mark.parametrize("value", ["", "a b", "it's", 'a"b\\c', "#x", "'", "$HOME", "a=b"])
def test_a_value_is_read_as_it_was_written(fresh: Machine, value: str) -> None:
    fresh("env", "set", f"PLAIN={value}", "OTHER=1").ok()
    assert fresh("env", "list", "--json").ok().json == {"OTHER": "1", "PLAIN": value}


def test_a_file_of_variables_that_others_may_read_is_refused(fresh: Machine) -> None:
    fresh("env", "set", "A=1").ok()
    (fresh.home / "env").chmod(0o644)
    done = fresh("env", "list")
    assert done.code == 1
    assert "chmod 600" in done.err


def test_init_writes_an_agent_that_runs_and_a_policy_that_holds(roost: Machine) -> None:
    (roost.work / ".gitignore").write_text("build")
    roost("init", "--name", "clerk").ok()
    assert (roost.work / ".gitignore").read_text() == "build\n# keys for agents (roost)\n/.env\n"
    assert "You said: hello" in roost("run", "--agent", "clerk", "hello").ok().out
    assert roost("policy", "check", "git push").code == 3
    agent = roost.work / ".roost/agents/clerk.md"
    agent.write_text(agent.read_text().replace("Look before", "Always look before"))
    before = agent.read_text()
    assert "is there already" in roost("init", "--name", "clerk").ok().err
    assert agent.read_text() == before
    assert (roost.work / ".gitignore").read_text().count("/.env") == 1
    assert roost("init", "--name", "../x").code == 2


def test_completion_is_installed_once_and_completes(roost: Machine) -> None:
    home = roost.work.parent / "user"
    home.mkdir()
    roost.env |= {"HOME": str(home), "SHELL": "/bin/bash"}
    roost("completion", "--install").ok()
    assert "has it already" in roost("completion", "--install").ok().err
    assert (home / ".bashrc").read_text().count("_ROOST_COMPLETE") == 1
    assert "compinit" in roost("completion", "zsh").ok().out  # a new start file of zsh has no completion yet
    roost("completion", "fish", "--install").ok()
    assert (home / ".config/fish/completions/roost.fish").exists()
    assert roost.completed("roost po") == ["policy"]
    assert roost.completed("roost policy re") == ["revoke"]
    assert "--follow" in roost.completed("roost logs --fo")
    assert roost.completed("roost hel") == ["help"]
    assert {"approve", "approvals"} <= set(roost.completed("roost help appro"))


def test_help_has_topics_and_commands(roost: Machine) -> None:
    assert "roost setup" in roost("help", "keys").ok().out
    assert "--follow" in roost("help", "logs").ok().out
    assert "Usage: roost policy revoke" in roost("help", "policy", "revoke").ok().out
    unknown = roost("help", "nonsense")
    assert unknown.code == 2
    assert "there is no help about 'nonsense'" in unknown.err
    assert "approvals" in unknown.err
    for name in ("agents", "files"):  # a subject and a command
        assert f"The options of the command: roost {name} --help" in roost("help", name).ok().out
    assert roost("--version").ok().out.startswith("roost ")


def test_the_last_events_of_a_log(roost: Machine) -> None:
    roost("run", "hello").ok()
    every = roost("logs").ok().out.splitlines()
    assert roost("logs", "-n", "2").ok().out.splitlines() == every[-2:]
    assert roost("logs", "-n", "1000").ok().out.splitlines() == every
    assert roost("logs", "-n", "0").ok().out == ""


def test_a_store_that_a_newer_version_wrote_is_refused_with_the_fix(roost: Machine) -> None:
    import sqlite3

    roost("run", "hello").ok()
    with sqlite3.connect(Path(roost.home / "roost.db")) as database:
        database.execute("PRAGMA user_version = 999")
    done = roost("ps")
    assert done.code == 1
    assert "upgrade Roost" in done.err
