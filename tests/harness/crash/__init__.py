"""The crash harness: kill the daemon at chosen and at random instants, start it again, and check what it promises.

`python -m tests.harness.crash --kills 300` runs it against real processes. `KillingStore` and `check` are for tests
of other journals and servers.
"""
