"""Sandboxes: isolation levels behind one contract.

The contract is `base.py` and `backend.py`. Which one a session gets says `choose.py`, by what `trial.py` finds out and
`recall.py` remembers; `remark.py` tells the model.

- Level 0: `process.py`, with `command.py`, `background.py`, `launch.py`; `marks.py` finds what a command left.
- Level 1: `containers/`. Level 2: `machines/`.
- What both have outside: `body.py`, with its limits (`cgroups.py`, else `watchdog.py`) and its way out (`egress.py`,
  `proxy_request.py`, `client_hello.py`, `injection.py` for secrets; `dialling.py`). What they show of this machine:
  `mounts.py`, less `sockets.py`. What they refuse: `seccomp.py`. Their sleep: `image.py`.
- Inside runs the agent of `guest/`, beside our end of the link to it.
"""
