"""The journal on SQLite: one file, one writer thread, group commit."""

from roost.log.sqlite.journal import SqliteJournal as SqliteJournal
