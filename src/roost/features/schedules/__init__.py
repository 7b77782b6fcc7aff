"""Schedules: turns that begin at a time, without a message."""
