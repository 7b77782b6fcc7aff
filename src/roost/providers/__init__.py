"""Accounts at model providers: configuration, keys, the directory of models, and the stack around each model."""
