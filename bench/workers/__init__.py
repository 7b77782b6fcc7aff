"""Contestants that need no network. Each module is a process of its own (see `bench.worker`)."""
