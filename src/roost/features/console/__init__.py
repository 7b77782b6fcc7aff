"""Signing in to the web console: codes that are used once, and sign-ins of browsers."""
