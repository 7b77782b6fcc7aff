"""Several real nodes on one database, under load and under every fault: what a cluster promises, put to the proof.

`python -m roost.testing.cluster --seconds 300` runs it against a PostgreSQL of its own.
"""

from roost.testing.cluster.report import ClusterReport as ClusterReport
from roost.testing.cluster.storm import Plan as Plan
from roost.testing.cluster.storm import cluster_storm as cluster_storm
