"""Workspaces: a session's files.

- `files.py` is the folder, `access.py` opens what is in it, `walk.py` and `pattern.py` list it, `writes.py` changes
  several files together.
- `snapshots.py` is the protocol of points to go back to. `store.py` keeps them in `objects/` (`saving.py`,
  `restoring.py`, after the format of `manifest.py`), `cow/` as the file system's own.
- `carry.py` brings a session's files to where it works, and saves them; `remembered.py`: what a machine knows of them.
"""
