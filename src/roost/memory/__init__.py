"""Memory of agents: spaces, rights, and search by words and by meaning."""
