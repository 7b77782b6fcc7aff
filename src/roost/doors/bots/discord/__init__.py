"""Bots at Discord: the gateway for what comes in, the REST API for what goes out."""
