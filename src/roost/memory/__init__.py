"""What agents remember: spaces, rights, search by words and by meaning."""
