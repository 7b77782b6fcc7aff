"""Replays: any session is a test."""
