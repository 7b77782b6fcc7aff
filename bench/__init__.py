"""Roost beside what else one could use, on this machine. `python -m bench` runs everything and writes RESULTS.md."""
