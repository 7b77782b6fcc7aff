"""Sandboxes made, used, killed and cancelled at random moments, and what of them is left on the machine."""
