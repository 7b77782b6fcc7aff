"""Makes the catalog's data: two public sources, and what is written by hand in `overlay.toml`."""
