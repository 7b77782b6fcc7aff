"""A small HTTP client of the daemon: blocking, standard library only, resumes streams by position."""
