"""The crash harness: kill the daemon at chosen and at random instants, start it again, and check what it promises.

`python -m roost.testing.crash --kills 300` runs it against real processes. `KillingJournal` and `check` are for tests
of other journals and servers.
"""

from roost.testing.crash.check import Sent as Sent
from roost.testing.crash.check import check as check
from roost.testing.crash.check import problems as problems
from roost.testing.crash.killing import KillingJournal as KillingJournal
from roost.testing.crash.witness import Effect as Effect
from roost.testing.crash.witness import effects as effects
from roost.testing.crash.witness import witness_tools as witness_tools
