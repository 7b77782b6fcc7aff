"""Standing rules: what the answers `always` of people allow from now on."""
