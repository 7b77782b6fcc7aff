"""Check and convert images, sound, videos and files of a request."""
