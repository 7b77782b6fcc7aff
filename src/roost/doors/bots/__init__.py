"""The door to platforms where people write: each is a folder or a file here, and a line in `platforms.py`."""
