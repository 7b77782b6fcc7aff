"""The door for clients of AG-UI 1.0: user interfaces that show an agent at work."""
