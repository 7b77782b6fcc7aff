"""Tools that read from the web."""
