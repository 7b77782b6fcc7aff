"""Gemini's protocol, for the Google Gen AI libraries, Gemini CLI and every other client of it."""
