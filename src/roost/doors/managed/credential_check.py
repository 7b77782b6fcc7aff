"""Check whether the MCP server of a credential accepts it, by a call."""

from __future__ import annotations

import time
from typing import Any

from roost.authority import current
from roost.doors.managed.requests import stamp
from roost.errors import Invalid
from roost.features.credentials.credentials import Credential, ServerOAuth
from roost.features.credentials.duties import CredentialsDuties
from roost.features.credentials.session import Keeper
from roost.features.mcp.duties import McpDuties
from roost.features.mcp.messages import NeedsLogin, ServerError, ServerFailed
from roost.server.app_state import Api


async def validation(api: Api, one: Credential) -> dict[str, Any]:
    """Return what the server says to the token: it is asked for its tools. Raises `Invalid`."""
    if not isinstance(one.use, ServerOAuth):
        raise Invalid("only a credential of the type mcp_oauth is validated")
    status, failed = "valid", False
    keeper = Keeper(api.runtime.node.feature(CredentialsDuties).credentials, one)
    servers = api.runtime.node.feature(McpDuties).servers
    try:
        await servers.check_token(one.use.server, keeper, named=not current().confined)
    except NeedsLogin:
        status, failed = "invalid", True
    except (ServerFailed, ServerError, TimeoutError):
        status, failed = "unknown", True
    return {
        "type": "vault_credential_validation",
        "credential_id": one.id,
        "vault_id": one.vault,
        "status": status,
        "has_refresh_token": one.use.refresh,
        "mcp_probe": {"method": "initialize", "http_response": None} if failed else None,
        "refresh": None,
        "validated_at": stamp(time.time()),
    }
