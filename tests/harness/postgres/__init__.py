"""A real PostgreSQL server for tests and experiments, made in a second and gone without a trace."""
