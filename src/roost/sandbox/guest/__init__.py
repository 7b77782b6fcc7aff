"""What runs inside a sandbox, and how the outside speaks with it."""
