"""A folder that a run which begins once more finds as it was when the run began first."""

from __future__ import annotations

import os
import shutil


def begin(folder: str, name: str, seed: str = "") -> None:
    """Put the folder back. name: of the run. seed: a folder whose files it begins with. A copy is whole once it has its
    name."""
    before = f"{folder}.before"
    mine = os.path.join(before, name)
    if not os.path.isdir(mine):
        shutil.rmtree(before, ignore_errors=True)
        os.makedirs(before)
        source = next((one for one in (folder, seed) if one and os.path.isdir(one)), None)
        made = f"{mine}.new"
        shutil.copytree(source, made, symlinks=True) if source else os.makedirs(made)
        os.rename(made, mine)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(mine, folder, symlinks=True)
