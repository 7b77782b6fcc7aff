"""Schedules: when they come due, what that means to a session's state, and their firing."""
