"""Placement and takeover far beyond one machine: what one database bears, and what nodes do to each other."""
