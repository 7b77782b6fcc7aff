"""The door for links to files: who has a link needs no token."""
