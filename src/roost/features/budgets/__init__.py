"""Budgets: money limits of turns, sessions and subtrees in the ledger."""
