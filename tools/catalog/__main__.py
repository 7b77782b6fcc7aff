"""`python -m tools.catalog --genai-prices PATH --litellm FILE` rewrites the packaged catalog's data.

Prints where the sources disagree: such a price stays unknown until `src/roost/models/catalog/overlay.toml` gives it,
from the provider's own documentation. Renew `dated` and the rates in the overlay, and `SOURCES` here, with the sources.
"""

from __future__ import annotations

import argparse
import importlib.resources
import sys
from pathlib import Path

import msgspec
from tools.catalog.wheel import as_json

from roost.models.catalog.making import make, read_overlay

SOURCES = (
    "genai-prices 0.2.3 (Pydantic Services Inc., MIT): prices",
    "litellm 1.109.1 (Berri AI, MIT): windows, prices, abilities",
    "the providers' own documentation, read in November 2026",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.catalog", description="Make the catalog's data")
    parser.add_argument(
        "--genai-prices", type=Path, required=True, help="its data.json, or the folder where its wheel is unpacked"
    )
    parser.add_argument("--litellm", type=Path, required=True, help="its model_prices_and_context_window.json")
    parser.add_argument("--output", type=Path, help="default: the package's own file")
    options = parser.parse_args()
    given: Path = options.genai_prices
    genai = as_json(given) if given.is_dir() else given.read_bytes()
    data, said, _ = make(genai, options.litellm.read_bytes(), dated=read_overlay()["dated"], sources=SOURCES)
    text = msgspec.json.format(msgspec.json.encode(data), indent=1) + b"\n"
    output = options.output or Path(str(importlib.resources.files("roost.models.catalog").joinpath("data.json")))
    output.write_bytes(text)
    models = sum(len(account.models) for account in data.accounts.values())
    sys.stdout.write("".join(f"{line}\n" for line in said))
    sys.stdout.write(f"{len(data.accounts)} accounts, {models} models, {len(text)} bytes: {output}\n")


if __name__ == "__main__":
    main()
