"""The Agent Client Protocol on standard input and output: an editor drives sessions. A client of the daemon, or of the
application in this process: it reads logs and writes to inboxes, and keeps nothing that they do not have."""
