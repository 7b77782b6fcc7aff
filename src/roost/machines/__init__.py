"""Level 2: machines of their own. What they start from, the files that they are served, and who runs them."""
