"""Goals that are checked before a session may call its work done."""
