"""Answers of people to tool calls that wait for one."""
