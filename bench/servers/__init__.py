"""Contestants that serve HTTP. Each is started as a user would start it, with an instant model inside."""
