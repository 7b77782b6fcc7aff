"""Facts about models and the accounts that serve them, as dated data."""
