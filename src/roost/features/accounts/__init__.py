"""Accounts, their tokens, and the audit trail."""
