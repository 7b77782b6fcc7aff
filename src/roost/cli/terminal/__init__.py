"""A conversation in the scrollback of a terminal: history is committed once, a live area below it is drawn again."""
