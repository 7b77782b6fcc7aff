"""Turn intents: what a turn is about decides the tools that its model is shown, and whether a person approves it."""
