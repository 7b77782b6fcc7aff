"""Level 1: namespaces and containers. Each shows the same files of this machine, in its own program's words."""
