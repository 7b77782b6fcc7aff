"""Tools that the client of a session runs, and the form of the answer that it asks for."""
