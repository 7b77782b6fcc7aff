"""Hooks, guardrails and the classifier: Python checks around the steps of a turn."""
