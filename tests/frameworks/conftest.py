from tests.frameworks.hosting import cache
from tests.server.conftest import serve, shared, wait

__all__ = ["cache", "serve", "shared", "wait"]
