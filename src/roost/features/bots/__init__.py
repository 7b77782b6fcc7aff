"""Bots: what agents are on the platforms where people write, such as Telegram."""

TOOLS = ("send_message",)
