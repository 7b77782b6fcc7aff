"""Files by words and by meaning: search, versions, links."""

TOOLS = ("search_files", "file_history", "restore_file", "share_file")
