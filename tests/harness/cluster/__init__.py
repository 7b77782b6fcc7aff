"""Several real nodes on one database, under load and under every fault: what a cluster promises, put to the proof.

`python -m tests.harness.cluster --seconds 300` runs it against a PostgreSQL of its own.
"""
