"""The rules that ship with Roost: they protect a person's keys and passwords, and files that run automatically."""

from __future__ import annotations

from functools import cache

from roost.policy.rules import Access, Effect, Rule

PROJECT_FILE = ".roost/policy.toml"
_KEYS = "it holds keys or passwords"
_RUNS = "what is written there runs later, by itself"
_PROCESS = "it shows the memory or the environment of a process"
_OWN = "it says what agents may do in this folder"
_GIVEN: tuple[tuple[Effect, Access, str, tuple[str, ...]], ...] = (
    (
        "deny",
        "any",
        _KEYS,
        (
            "~/.ssh/**", "~/.aws/**", "~/.azure/**", "~/.gnupg/**", "~/.kube/**", "~/.config/{gcloud,gh,op}/**",
            "~/.docker/config.json", "~/{.netrc,.git-credentials,.pgpass,.pypirc,.npmrc}", "~/.password-store/**",
            "~/.local/share/keyrings/**", "~/Library/Keychains/**", "/etc/{shadow,gshadow}{,-}", "/root/.ssh/**",
        ),
    ),
    ("deny", "any", _PROCESS, ("/proc/**/{environ,mem,auxv}", "/proc/kcore", "/dev/{mem,kmem}")),
    (
        "ask",
        "any",
        _KEYS,
        ("/**/.env", "/**/.env.{local,production,staging,development}", "/**/*.pem", "/**/id_{rsa,ed25519,ecdsa}"),
    ),
    (
        "ask",
        "write",
        _RUNS,
        (
            "/**/.git/{hooks,info}/**", "/**/.git/config", "/**/.gitmodules", "/**/.husky/**", "/**/.envrc",
            "/**/.mcp.json", "/**/.{vscode,cursor,claude,gemini,codex,roost-agent}/**",
        ),
    ),
    (
        "ask",
        "write",
        _RUNS,
        (
            "~/.{bashrc,bash_profile,bash_login,profile,zshrc,zshenv,zprofile,inputrc}",
            "~/.config/{fish,systemd,autostart}/**", "~/Library/LaunchAgents/**", "/etc/**", "/var/spool/cron/**",
        ),
    ),
    ("ask", "write", _OWN, ("**/.roost/**",)),
)  # fmt: skip


@cache
def system_rules() -> tuple[Rule, ...]:
    return tuple(
        Rule(effect=effect, access=access, path=path, reason=reason)
        for effect, access, reason, paths in _GIVEN
        for path in paths
    )
