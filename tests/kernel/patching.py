"""Changes the configuration until somebody kills it: two keys at once, and says each change that it was told of."""

from __future__ import annotations

import asyncio
import sys

from roost.kernel.settings import Record
from roost.stores.open import open_store


async def main(address: str, begin: int) -> None:
    record = Record((await open_store(address)).coordination)
    for number in range(begin, begin + 1_000_000):
        await record.patch({"linger": number % 3600, "retention": number + 1}, by="worker")
        print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
