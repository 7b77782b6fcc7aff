"""What is known of models and of the accounts that serve them, as dated data."""
