"""A real PostgreSQL server for tests and experiments, made in a second and gone without a trace."""

from tests.harness.postgres.binaries import Binaries, find_binaries
from tests.harness.postgres.server import PostgresServer
from tests.harness.postgres.volume import no_volume
