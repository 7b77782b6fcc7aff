"""A local model provider that speaks the real providers' protocols, for development and tests."""
