"""Stalls: a turn that makes no progress gets a hint, more effort, another model, or an end."""
