"""QEMU from outside: its program, and how it is told what to do."""
