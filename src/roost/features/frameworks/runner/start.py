"""Start an agent's program: `python start.py FRAMEWORK`."""

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parent)]
    sys.exit(import_module("roost_bridge.serve").main(sys.argv[1]))
