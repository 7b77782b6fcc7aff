"""The store on PostgreSQL: many nodes, one database."""

from roost.log.postgres.journal import PostgresJournal as PostgresJournal
