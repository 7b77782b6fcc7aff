"""Schedules: recurrence, their part of a session's state, and their firing."""
