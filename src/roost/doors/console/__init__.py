"""The web console: the page at `/`, its files, and what a browser needs beyond the API."""
