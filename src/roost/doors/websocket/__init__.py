"""One connection for many sessions: `docs/guides/websocket.md`."""
