"""Bots that watch an address: entries of a feed and changes of a page become inputs."""
