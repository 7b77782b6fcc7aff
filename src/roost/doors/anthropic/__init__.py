"""The door for clients of Anthropic's Messages API."""
