"""The log: events, inputs, and the protocols of the stores that keep them."""
