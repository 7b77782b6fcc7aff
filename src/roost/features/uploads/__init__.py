"""Files that clients upload: kept by the home or the object store, and placed into the workspaces of sessions."""
