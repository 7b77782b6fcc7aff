"""A real PostgreSQL server for tests and experiments, made in a second and gone without a trace."""

from roost.testing.postgres.binaries import Binaries as Binaries
from roost.testing.postgres.binaries import find_binaries as find_binaries
from roost.testing.postgres.server import PostgresServer as PostgresServer
from roost.testing.postgres.volume import no_volume as no_volume
