"""A model provider that runs here and speaks the wires of the real ones, for development and tests."""
