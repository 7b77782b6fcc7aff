"""The environment: the model is told the time, the file names and the instructions of the workspace."""
