"""Makes the packaged catalog's data from the two sources, for a release."""
