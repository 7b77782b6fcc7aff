"""Shared terminals."""
