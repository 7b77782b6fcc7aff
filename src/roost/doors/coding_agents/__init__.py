"""Serves the model calls of coding agents that work in sessions (`roost.features.coding_agents`)."""
