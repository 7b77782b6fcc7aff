"""Agent tasks judged by code: how much of them does a model get right? `python -m bench.evals --help`."""
