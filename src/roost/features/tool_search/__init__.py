"""Offer the tools of large sources, such as APIs and servers, as the model searches for them."""
