"""Models: the request, the wires that carry it, the embedded model."""
