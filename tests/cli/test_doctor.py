"""`roost doctor` and `roost pull`."""

from __future__ import annotations

import os

from .conftest import Machine


def test_a_fine_machine(roost: Machine) -> None:
    roost("run", "hello").ok()
    findings = {item["check"]: item for item in roost("doctor", "--deep", "--json").ok().json}
    assert set(findings) >= {
        "python",
        "sqlite",
        "machine",
        "user",
        "home",
        "fsync",
        "disk",
        "files",
        "sandbox",
        "model",
        "daemon",
        "store",
        "sessions",
    }
    assert {item["status"] for item in findings.values()} <= {"ok", "warn"}
    assert findings["user"]["status"] == ("warn" if os.geteuid() == 0 else "ok")
    assert "roost.db, layout" in findings["store"]["detail"]
    assert findings["sessions"]["detail"].startswith("1 sessions, ")
    assert "level 0 runs commands" in findings["sandbox"]["detail"]
    for level in ("level 1", "level 2"):
        assert findings[level]["status"] == "ok" or findings[level]["detail"].count(":") >= 1
    assert findings["model"]["detail"] == "openai/scripted (ROOST_MODEL in the environment)"


def test_the_local_model_and_where_it_comes_from(roost: Machine) -> None:
    roost.env.pop("ROOST_MODEL")
    findings = {item["check"]: item for item in roost("doctor", "--json").ok().json}
    assert findings["model"]["detail"].startswith("local/qwen2.5-coder-1.5b (no provider's key is set")
    assert findings["weights"]["status"] == "warn"
    assert "1.1 GB" in findings["weights"]["detail"]
    (roost.work / ".env").write_text("GROQ_API_KEY=k\n")
    findings = {item["check"]: item for item in roost("doctor", "--json").ok().json}
    assert findings["model"]["detail"] == "groq/openai/gpt-oss-120b (the first provider whose key is set)"


def test_only_the_backends_of_the_policy_are_tried(roost: Machine) -> None:
    roost("run", "hello").ok()
    policy = roost.home / "policy.toml"
    policy.write_text('[sandbox]\nbackends = ["qemu"]\nemulate = true\nkernel = "/no/such/place"\n')
    findings = {item["check"]: item for item in roost("doctor", "--json").ok().json}
    assert findings["level 1"]["detail"] == "namespaces or a container: there is no backend for it"
    assert "KVM" not in findings["level 2"]["detail"]
    assert findings["level 2"]["status"] == "warn"
    policy.write_text('[sandbox]\nbackends = ["qmeu"]\n')
    assert "sandbox.backends: there is no backend 'qmeu'; there are bwrap," in roost("doctor").out
    assert "there is no backend 'qmeu'" in roost("run", "hello").err


def test_what_is_wrong_fails_with_its_fix(roost: Machine) -> None:
    roost("run", "hello").ok()
    store = roost.home / "roost.db"
    body = bytearray(store.read_bytes())
    for page in range(4096, len(body), 4096):
        body[page : page + 64] = b"\xff" * 64
    store.write_bytes(body)
    folder = roost.work / "agents"
    folder.mkdir()
    (folder / "bad.toml").write_text("model = ")
    done = roost("doctor", "--deep", env={"ROOST_MODEL": "groq/x"})
    assert done.code == 1
    assert "fail sessions" in done.out
    assert "restore a backup" in done.out
    assert "fail agents   agents/bad.toml:1: not valid TOML" in done.out
    assert "fail model    the model 'groq/x' needs a key: set GROQ_API_KEY" in done.out


def test_pull(roost: Machine) -> None:
    models = roost("pull", "--list", "--json").ok().json
    assert any(model["bytes"] > 1e9 for model in models)
    offline = roost("pull", "smollm2-135m")
    assert offline.code == 1
    assert "ROOST_OFFLINE" in offline.err
    assert "no local model is called 'nonsense'" in roost("pull", "nonsense").err
