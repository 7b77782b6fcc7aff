"""Models: the request, the wires that send it, the catalog, the embedded model."""
