"""Memory stores: texts under paths that several sessions share, with versions, kept by clients and agents."""

TOOLS = ("list_memories", "read_memory", "write_memory", "delete_memory")
