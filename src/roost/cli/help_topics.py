"""The texts of `roost help TOPIC`."""

from __future__ import annotations

TOPICS = {
    "keys": """\
Keys of model providers

  roost setup anthropic        asks for a key, checks it, keeps it, and names the model that agents use
  roost models check           asks every account that has a key
  roost config                 which key comes from where

A key comes from models.toml of the home (a reference: env:, file:, keyring:, command:), else from the environment,
the home's variables (roost env), or .env of the folder. No key is shown in an error, a log or an output.""",
    "agents": """\
Agents

  roost agents                 the agents of this folder and this home
  roost init                   an agent and a policy for this project
  roost run --agent NAME "…"   one task

An agent is a file: Markdown with a header, TOML or Python, in ./.roost/agents, ./agents or the home's agents.
Python files run only if you name them with --agents. Without one there is the agent `assistant`.""",
    "approvals": """\
Approvals

  roost show SESSION           the calls that wait, and the rules that an answer may make
  roost approve SESSION        yes; --reject, --note, --with NAME=VALUE
  roost approve SESSION --always [--for session|agent|user]
  roost policy list            the rules that such answers have made
  roost policy revoke RULE
  roost policy check 'git push --force'

An agent's permissions and the policy decide which calls ask. The first answer counts, from whichever client.""",
    "sessions": """\
Sessions

  roost ps                     the sessions; roost top: live
  roost attach SESSION         follow one; Ctrl-C leaves it running
  roost send SESSION "…"       a message; --steer into the running turn
  roost pause | resume | cancel | stop | rm SESSION
  roost rollback, fork, checkpoints, diff

A session is a log. It sleeps on disk, and survives the end of every process. Without a daemon (roost up -d) it works
only while a command runs.""",
    "files": """\
Files of a home (~/.roost, ROOST_HOME, --home); `roost files` finds and shares those of sessions

  roost.db          sessions: their logs, memory, accounts
  workspaces/       private files of sessions
  models.toml       accounts, models, budgets          keys/    keys that roost setup keeps
  policy.toml       rules, hooks, secrets, sandboxes   env      variables (roost env)
  agents/, skills/  for every folder                   token    of the HTTP API

Of a folder: ./.roost/agents, ./agents, .roost/policy.toml, .env, AGENTS.md.""",
    "scripts": """\
Scripts

  roost run --json "…"
  roost logs --json -n 20 SESSION

Most commands take --json. Exit codes: 0 done, 1 it failed, 2 a wrong command line, 130 interrupted; `policy check` has
3 (asks) and 4 (denies). Without a terminal, calls that need an approval are rejected, unless --yes is given.""",
}
