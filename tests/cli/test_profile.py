"""`roost models use`, with a daemon and without one."""

from __future__ import annotations

from .conftest import Machine

MODELS = """
profile = "mine"

[accounts.one]
base_url = "{url}"

[profiles.mine]
chat = ["one/m", "nowhere/m"]

[profiles.other]
chat = ["nowhere/m"]
"""


def _configure(roost: Machine) -> None:
    roost.home.mkdir(mode=0o700)
    (roost.home / "models.toml").write_text(MODELS.format(url=roost.env["OPENAI_BASE_URL"]))
    roost.env["ROOST_MODEL"] = "auto"


def test_a_profile_is_shown_and_switched_without_a_daemon(roost: Machine) -> None:
    _configure(roost)
    shown = roost("models", "use", "--json").ok().json
    assert (shown["profile"], [row["name"] for row in shown["models"]]) == ("mine", ["one/m", "nowhere/m"])
    assert not (roost.home / "roost.db").exists(), "showing makes nothing"
    text = roost("models", "use").ok().out
    assert "one/m      ready" in text
    assert "nowhere/m  missing" in text
    assert roost("run", "hello").ok().out == "You said: hello\n"
    switched = roost("models", "use", "other").ok()
    assert "other is in use; there are default, budget" in switched.out
    assert "none of its models can be asked here" in switched.err
    failed = roost("run", "hello")
    assert failed.code != 0
    assert "no model of the profile 'other' can be asked here" in failed.err
    wrong = roost("models", "use", "nothing")
    assert wrong.code == 1
    assert "there is no profile 'nothing'; use one of default, budget" in wrong.err


def test_a_daemon_switches_for_all_and_keeps_it(roost: Machine) -> None:
    _configure(roost)
    roost.up()
    assert roost("run", "hello").ok().out == "You said: hello\n"
    assert roost("models", "use", "other", "--json").ok().json["profile"] == "other"
    assert "can be asked here" in roost("run", "hello").err
    roost("models", "use", "mine").ok()
    assert roost("run", "hello").ok().out == "You said: hello\n"
    roost("models", "use", "budget").ok()
    roost("down").ok()
    assert roost("models", "use", "--json").ok().json["profile"] == "budget"
