"""Files and commands of the editor that drives a session."""
