"""Frameworks: agents that were written in another framework, run as sessions and made durable by recorded answers."""
