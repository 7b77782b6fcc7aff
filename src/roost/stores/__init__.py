"""The stores behind the protocols of `roost.log`: SQLite and PostgreSQL, and tools that work on either."""
