"""What the deployment files ask a node is what a node answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    environment = os.environ | {"ROOST_HOME": str(home), "ROOST_TOKEN": "secret", "OPENAI_API_KEY": "x"}
    daemon = subprocess.Popen([str(_BIN / "roost"), "up", "--port", "0"], env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (home / "daemon.json").exists():
            assert time.monotonic() < deadline
            assert daemon.poll() is None
            time.sleep(0.05)
        yield json.loads((home / "daemon.json").read_text())["url"]
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)


def get(url: str, token: str | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_probes_need_no_token_and_metrics_do(node: str) -> None:
    assert get(f"{node}/live")[0] == 200
    assert get(f"{node}/health")[0] == 200
    assert get(f"{node}/metrics")[0] == 401
    status, text = get(f"{node}/metrics", "secret")
    assert status == 200
    assert re.search(r"^roost_saturation_ratio [\d.]+$", text, re.MULTILINE), "what the autoscaler reads"


def test_the_image_is_healthy_when_its_node_is(node: str, deploy: Path) -> None:
    port = node.rpartition(":")[2]
    text = (deploy / "Dockerfile").read_text().replace("\\\n", "")
    (found,) = re.findall(r"^HEALTHCHECK .*? CMD (\[.*\])$", text, re.MULTILINE)
    program, *arguments = json.loads(found)
    for to, code in ((port, 0), ("1", 1)):
        done = subprocess.run([sys.executable, *arguments], env={"ROOST_PORT": to}, stderr=subprocess.DEVNULL)
        assert (program, done.returncode) == ("python", code)


def test_compose_knows_a_ready_node(node: str, compose: dict[str, Any]) -> None:
    port = node.rpartition(":")[2]
    _, program, *arguments = compose["services"]["roost-1"]["healthcheck"]["test"]
    for to, good in ((port, True), ("1", False)):
        asked = [part.replace("7667", to) for part in arguments]
        done = subprocess.run([sys.executable, *asked], stderr=subprocess.DEVNULL)
        assert (program, done.returncode == 0) == ("python", good)
