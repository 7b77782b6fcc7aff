"""The ledger that every model call goes through: budgets, reservations, charges."""
