"""One small client for each door, which goes on after a cut by the means of its protocol, and its uses."""
