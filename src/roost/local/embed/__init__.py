"""Texts as vectors: OpenAI, Google, Cohere, and a small model in this process."""
