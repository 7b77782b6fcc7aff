"""Models: the request, the compilers and wires that shape and send it, the catalog, media."""
