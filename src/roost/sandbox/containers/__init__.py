"""Level 1: namespaces and containers. All backends show the same view of this machine's files."""
