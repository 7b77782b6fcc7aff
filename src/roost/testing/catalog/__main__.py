"""`python -m roost.testing.catalog --genai-prices DIR --litellm FILE` rewrites the catalog's data.

Prints where the sources do not agree: such a price stays unknown until `overlay.toml` says it, by the provider's own
documentation. Renew `dated`, the rates and the versions in `SOURCES` with the sources.
"""

from __future__ import annotations

import argparse
import importlib.resources
import sys
from pathlib import Path

import msgspec

from roost.testing.catalog.making import make


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m roost.testing.catalog", description="Make the catalog's data")
    parser.add_argument("--genai-prices", type=Path, required=True, help="the folder that holds genai_prices")
    parser.add_argument("--litellm", type=Path, required=True, help="its model_prices_and_context_window_backup.json")
    parser.add_argument("--output", type=Path, help="default: the package's own file")
    options = parser.parse_args()
    data, said = make(options.genai_prices, options.litellm)
    text = msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n"
    output = options.output or Path(str(importlib.resources.files("roost.llm.catalog").joinpath("data.json")))
    output.write_bytes(text)
    models = sum(len(account.models) for account in data.accounts.values())
    sys.stdout.write("".join(f"{line}\n" for line in said))
    sys.stdout.write(f"{len(data.accounts)} accounts, {models} models, {len(text)} bytes: {output}\n")


if __name__ == "__main__":
    main()
