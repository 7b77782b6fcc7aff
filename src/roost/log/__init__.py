"""The log: events, inputs, and the journal that keeps them."""
