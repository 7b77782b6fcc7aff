"""Sandboxes: isolation levels behind one contract.

The contract is `base.py` and `backend.py`. `choose.py` picks a backend for a session from the results of `probe.py`,
which `probe_cache.py` keeps over restarts; `isolation_notes.py` tells the model about weaker isolation.

- Level 0: `host_process.py`, with `command.py`, `background.py`, `host_launch.py`, `as_user.py`; `process_marks.py`
  finds the processes that a command left.
- Level 1: `containers/`. Level 2: `roost.machines`.
- Both have a host side: `sandbox_host.py`, with limits (`cgroups.py`, else `watchdog.py`) and egress (`egress.py`,
  `proxy_request.py`, `client_hello.py`, `egress_dialler.py`, `injection.py` for secrets). `mounts.py` defines the
  visible files of this machine, without the sockets that `sockets.py` finds; `seccomp.py` the refused system calls;
  `suspended_image.py` the suspended sandbox.
- The workspace quota: `workspace_quota.py`, `quota_watch.py`, `folder_size.py`, `disk_reserve.py`.
- `guest/` holds the agent inside a sandbox, and the host's end of the link to it.
"""
