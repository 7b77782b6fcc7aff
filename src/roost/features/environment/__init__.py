"""The environment: the model is told the time and the file names."""
