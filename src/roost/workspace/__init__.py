"""Workspaces: a session's files.

- `files.py` is the folder, `safe_paths.py` opens the files in it, `walk.py` and `pattern.py` list it, `atomic_edits.py`
  changes several files together, `owners.py` gives it a user.
- `snapshots.py` is the protocol of snapshots. `store.py` keeps them in `objects/` (`save.py`, `restore.py`, in the
  format of `manifest.py`), `cow/` by means of the file system.
- `snapshot_sync.py` brings a session's files to its node and saves them; `file_cache.py` caches what they hold.
"""
