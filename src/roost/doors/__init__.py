"""Protocols that other products speak: a folder each, found through `roost.registry.DOORS`."""
