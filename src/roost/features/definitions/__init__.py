"""Agents that were defined over HTTP: durable, with versions, known to every node of a store."""
