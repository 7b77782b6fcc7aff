"""The two sources of prices as their projects publish them, and a server on loopback that serves them."""

from __future__ import annotations

import datetime
import http.server
import threading
from email.utils import format_datetime
from typing import Any

import msgspec

from roost.models.catalog.facts import PriceTable
from roost.models.catalog.making import read_overlay
from roost.models.catalog.reader import catalog

MODEL = "openai/gpt-5.5"
"""The model whose price the tests change: $5 in, $30 out in the packaged catalog."""


class Published:
    """The two documents, as they would have to be for the packaged catalog."""

    def __init__(self) -> None:
        self.litellm: dict[str, dict[str, Any]] = {}
        self.genai: dict[str, dict[str, dict[str, Any]]] = {}
        for account, at in read_overlay()["accounts"].items():
            for name in at.get("pick", ()):
                self._add(at, at.get("own", {}).get(name, {}), name, catalog().accounts[account].models.get(name))

    def _add(self, at: dict[str, Any], own: dict[str, Any], name: str, facts: Any) -> None:
        price = facts and facts.price
        price = None if price is None or price.currency != "USD" else price
        if "litellm" in at:
            known, prefix = own.get("litellm") or name, at.get("prefix", "")
            entry: dict[str, Any] = {"litellm_provider": at["litellm"], "mode": "chat"}
            if facts is not None:
                entry |= {"mode": facts.kind, "max_input_tokens": facts.window}
            if price is not None:
                entry |= self.paid(price)
            self.litellm[known if "/" in known and not prefix else prefix + known] = entry
        if "genai" in at and price is not None:
            provider, model = at["genai"], (own.get("genai") or name).removeprefix(at.get("strip", ""))
            if ":" in (own.get("genai") or ""):
                provider, _, model = own["genai"].partition(":")
            made = {"id": model, "match": {"equals": model}, "prices": self.counted(price)}
            self.genai.setdefault(provider, {}).setdefault(model, made)

    @staticmethod
    def paid(price: PriceTable) -> dict[str, float]:
        names = {"input": "input_cost_per_token", "output": "output_cost_per_token"}
        names |= {"cached": "cache_read_input_token_cost", "written": "cache_creation_input_token_cost"}
        steps = [("", price), *((f"_above_{tier.above // 1000}k_tokens", tier) for tier in price.tiers)]
        return {
            field + at: getattr(step, name) / 1_000_000
            for at, step in steps
            for name, field in names.items()
            if getattr(step, name) is not None
        }

    @staticmethod
    def counted(price: PriceTable) -> dict[str, Any]:
        names = {"input": "input_mtok", "output": "output_mtok"}
        names |= {"cached": "cache_read_mtok", "written": "cache_write_mtok"}
        made: dict[str, Any] = {}
        for name, field in names.items():
            steps = [{"start": t.above, "price": getattr(t, name)} for t in price.tiers if getattr(t, name) is not None]
            if (base := getattr(price, name)) is not None:
                made[field] = {"base": base, "tiers": steps} if steps else base
        return made

    def price(self, *, litellm: PriceTable | None = None, genai: PriceTable | None = None) -> None:
        """Let the sources say this of `MODEL`."""
        if litellm is not None:
            entry = self.litellm["gpt-5.5"]
            kept = {name: value for name, value in entry.items() if "_cost" not in name}
            self.litellm["gpt-5.5"] = kept | self.paid(litellm)
        if genai is not None:
            self.genai["openai"]["gpt-5.5"]["prices"] = self.counted(genai)

    def documents(self) -> dict[str, bytes]:
        listed = [{"id": name, "models": list(models.values())} for name, models in self.genai.items()]
        return {"/genai.json": msgspec.json.encode(listed), "/litellm.json": msgspec.json.encode(self.litellm)}


class Server:
    """Serves documents by their path, changed on the day `dated`."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.dated: datetime.date | None = None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = outer.documents.get(self.path.partition("?")[0])
                self.send_response(200 if body is not None else 404)
                if outer.dated is not None:
                    moment = datetime.datetime.combine(outer.dated, datetime.time(12), datetime.UTC)
                    self.send_header("Last-Modified", format_datetime(moment, usegmt=True))
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def places(self) -> tuple[str, str]:
        return f"{self.url}/genai.json", f"{self.url}/litellm.json"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
