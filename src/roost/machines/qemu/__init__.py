"""QEMU: its process and its control protocol."""
