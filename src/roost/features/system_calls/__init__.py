"""Calls of a session's model, memory, files and tools by programs and other agents, with rights."""
