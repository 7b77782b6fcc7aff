"""Serving local models: the commands for engines that others made, run as real processes; and what is refused."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roost.errors import ConfigError
from roost.local.serving.engines import planned
from roost.local.serving.header import read_header
from roost.local.serving.wanted import Wanted

ROOST = str(Path(sys.executable).with_name("roost"))
ENGINE = """#!{python}
import http.server, json, os, sys, time
with open(os.environ["RECORD"], "a") as file:
    kept = {{k: v for k, v in os.environ.items() if k.startswith(("OLLAMA_", "VLLM_"))}}
    text = open(sys.argv[-1]).read() if "-f" in sys.argv else ""
    file.write(json.dumps([sys.argv[1:], kept, text, os.getpid()]) + "\\n")
if sys.argv[1] != "serve":
    sys.exit(int(os.environ.get("FAIL", "0")))
if "--die" in sys.argv[2:] or os.environ.get("DIE"):
    sys.exit(3)
where = os.environ.get("OLLAMA_HOST", "").rpartition(":")[2]
port = int(where or sys.argv[sys.argv.index("--port") + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(401)
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def shown(engine: str, **wanted: Any) -> str:
    return planned(engine, Wanted(**{"model": "org/model", "port": 8000, **wanted})).shown()


def test_vllm_is_told_its_devices_memory_and_no_key_is_shown() -> None:
    plan = planned(
        "vllm",
        Wanted(
            model="org/model", port=8000, key="s3cret-key", slots=16, context=1_048_576, device_memory=0.85, devices=2
        ),
    )
    assert plan.command == (
        *("vllm", "serve", "org/model", "--host", "127.0.0.1", "--port", "8000", "--served-model-name", "org/model"),
        *("--max-num-seqs", "16", "--max-model-len", "1048576"),
        *("--gpu-memory-utilization", "0.85", "--tensor-parallel-size", "2"),
    )
    assert plan.environ == {"VLLM_API_KEY": "s3cret-key"}
    assert "s3cret" not in plan.shown()


def test_transformers_is_told_the_memory_of_each_device() -> None:
    plan = planned(
        "transformers", Wanted(model="org/model", port=8000, slots=4, max_memory={"0": "20GiB", "cpu": "64GiB"})
    )
    assert plan.command[:4] == ("transformers", "serve", "--force-model", "org/model")
    assert "--continuous-batching" in plan.command
    assert json.loads(plan.environ["ROOST_MAX_MEMORY"]) == {"0": "20GiB", "cpu": "64GiB"}


def test_ollama_gets_a_model_with_the_settings() -> None:
    plan = planned("ollama", Wanted(model="qwen3:8b", port=9000, slots=2, context=8192, gpu_layers=20, threads=3))
    assert plan.environ == {
        "OLLAMA_HOST": "127.0.0.1:9000",
        "OLLAMA_NUM_PARALLEL": "2",
        "OLLAMA_CONTEXT_LENGTH": "8192",
    }
    assert plan.modelfile == "FROM qwen3:8b\nPARAMETER num_ctx 8192\nPARAMETER num_gpu 20\nPARAMETER num_thread 3\n"
    assert plan.name == "qwen3:roost"
    assert shown("ollama", model="qwen3:8b").splitlines() == [
        "OLLAMA_HOST=127.0.0.1:8000 ollama serve",
        "OLLAMA_HOST=127.0.0.1:8000 ollama pull qwen3:8b",
    ]
    assert "FROM /models/my.gguf" in shown("ollama", model="/models/my.gguf")


@pytest.mark.parametrize(
    ("engine", "wanted", "said"),
    [
        ("vllm", {"gpu_layers": 3}, "--gpu-layers"),
        ("ollama", {"device_memory": 0.5, "key": "k"}, "--device-memory, --key"),
        ("transformers", {"context": 100}, "--context"),
        ("vllm", {"device_memory": 1.5}, "at most 1"),
        ("vllm", {"host": "0.0.0.0"}, "--key of at least 16"),
        ("vllm", {"host": "0.0.0.0", "key": "short"}, "--key of at least 16"),
        ("ollama", {"host": "192.168.1.2"}, "knows no keys"),
        ("vllm", {"model": "--trust-remote-code"}, "name of a model"),
        ("ollama", {"model": "m\nSYSTEM x", "context": 99}, "name of a model"),
    ],
)
def test_what_an_engine_does_not_have_is_said(engine: str, wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        shown(engine, **wanted)


@pytest.fixture
def engines(tmp_path: Path) -> dict[str, str]:
    """An environment in which `ollama` and `vllm` are programs that listen and write down what they were told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("ollama", "vllm"):
        program = folder / name
        program.write_text(ENGINE.format(python=sys.executable))
        program.chmod(0o755)
    return {
        **os.environ,
        "http_proxy": "http://127.0.0.1:9",
        "PATH": f"{folder}:/usr/bin:/bin",
        "RECORD": str(tmp_path / "record"),
        "ROOST_HOME": str(tmp_path),
    }


def told(environ: dict[str, str]) -> list[Any]:
    return [json.loads(line) for line in Path(environ["RECORD"]).read_text().splitlines()]


@contextlib.contextmanager
def serving(environ: dict[str, str], *arguments: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The process, and the lines that it said when it was ready."""
    command = [ROOST, "serve-model", *arguments]
    with subprocess.Popen(command, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not lines or "roost run" not in lines[-1]:
                line = process.stdout.readline()
                assert line, process.communicate()
                lines.append(line.strip())
            yield process, lines
        finally:
            process.kill()


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.05)
                continue
        return True
    return False


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_engine_runs_as_long_as_the_command(ended_by: signal.Signals, engines: dict[str, str]) -> None:
    options = ["--slots", "2", "--context", "2048", "--gpu-layers", "9"]
    with serving(engines, "qwen3:8b", "--engine", "ollama", "--port", "0", *options) as (process, lines):
        serve, create = told(engines)
        assert serve[0] == ["serve"]
        assert serve[1]["OLLAMA_NUM_PARALLEL"] == "2"
        assert create[0][:3] == ["create", "qwen3:roost", "-f"]
        assert "PARAMETER num_gpu 9" in create[2]
        port = serve[1]["OLLAMA_HOST"].rpartition(":")[2]
        assert lines[-1] == f"roost run --model 'http://127.0.0.1:{port}/v1#qwen3:roost' \"…\""
        process.send_signal(ended_by)
        assert process.wait(20) == (0 if ended_by != signal.SIGKILL else -9)
    if sys.platform == "linux" or ended_by != signal.SIGKILL:
        assert gone(serve[3])
    assert not Path(create[0][3]).exists() or ended_by == signal.SIGKILL


def test_vllm_gets_a_random_key_that_is_on_no_command_line(engines: dict[str, str]) -> None:
    with serving(engines, "org/model", "--engine", "vllm", "--port", "0", "--device-memory", "0.5") as (_, lines):
        ((argv, environ, _, pid),) = told(engines)
        key = environ["VLLM_API_KEY"]
        assert len(key) >= 16
        assert f"key: {key}" in lines
        assert argv[argv.index("--gpu-memory-utilization") + 1] == "0.5"
        assert key not in Path(f"/proc/{pid}/cmdline").read_text()


def once(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOST, "serve-model", *arguments], env=environ, text=True, capture_output=True, timeout=60, check=False
    )


def test_an_engine_that_ends_by_itself_is_an_error(engines: dict[str, str]) -> None:
    ended = once({**engines, "DIE": "1"}, "org/model", "--engine", "vllm", "--port", "0")
    assert ended.returncode == 1
    assert "vllm ended by itself (exit code 3)" in ended.stderr
    ended = once({**engines, "FAIL": "4"}, "m", "--engine", "ollama", "--port", "0")
    assert ended.returncode == 1
    assert "could not prepare 'm' (exit code 4)" in ended.stderr
    assert all(gone(entry[3]) for entry in told(engines))


def test_the_command_line_says_what_is_wrong(engines: dict[str, str], tmp_path: Path) -> None:
    shell = {**engines, "PATH": "/usr/bin:/bin"}
    missing = once(shell, "org/model", "--engine", "vllm")
    assert missing.returncode == 1
    assert "pip install vllm" in missing.stderr
    dry = once(shell, "org/model", "--engine", "vllm", "--dry-run", "--context", "4096", "--port", "8000")
    assert dry.returncode == 0
    assert "vllm serve org/model --host 127.0.0.1 --port 8000" in dry.stdout
    assert not Path(engines["RECORD"]).exists()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments in (["m", "--engine", "ollama"], [str(tmp_path / "x.gguf")]):
            assert f"port {port} of 127.0.0.1 is taken" in once(engines, *arguments, "--port", port).stderr
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"no model")
    assert "is not a GGUF file" in once(engines, str(bad), "--port", "0").stderr
    assert "public" not in once(engines, str(bad), "--host", "0.0.0.0", "--port", "0").stdout
    refused = once(engines, str(bad), "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 1
    assert "--key of at least 16" in refused.stderr
    assert once(engines, "--max-memory", "0", "m", "--engine", "transformers").returncode == 2
    assert "no local model is called 'big'" in once(engines, "big", "--port", "0").stderr


def test_transformers_loads_with_the_limits(tmp_path: Path) -> None:
    """The launcher, on a package that has the shape of the real one."""
    package = tmp_path / "transformers"
    (package / "cli").mkdir(parents=True)
    (package / "__init__.py").write_text(
        "class PreTrainedModel:\n"
        "    @classmethod\n"
        "    def from_pretrained(cls, name, **given):\n"
        "        return cls.__name__, name, given\n"
        "class Llama(PreTrainedModel):\n    pass\n"
    )
    (package / "cli" / "__init__.py").write_text("")
    (package / "cli" / "transformers.py").write_text(
        "import sys, transformers\n"
        "def main():\n"
        "    print(sys.argv, transformers.Llama.from_pretrained('m', device_map='auto'))\n"
    )
    import roost.local.serving.engines as engines

    launcher = Path(engines.__file__).with_name("hf_launcher.py")
    environ = {**os.environ, "PYTHONPATH": str(tmp_path), "ROOST_MAX_MEMORY": '{"0": "20GiB", "cpu": "1GiB"}'}
    command = [sys.executable, "-P", str(launcher), "serve", "--host", "h"]
    said = subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
    given = "{'max_memory': {0: '20GiB', 'cpu': '1GiB'}, 'device_map': 'auto'}"
    assert said == f"['transformers', 'serve', '--host', 'h'] ('Llama', 'm', {given})\n"


def test_a_header_that_lies_is_an_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    for body in (
        b"",
        b"GGUF",
        b"GGUF" + b"\xff" * 20,
        b"GGUF\x03\0\0\0" + bytes(8) + b"\x05" + bytes(7) + b"\xff" * 40,
    ):
        path.write_bytes(body)
        assert read_header(path).architecture == ""
    assert read_header(tmp_path / "none").architecture == ""
    name, value = b"general.architecture", b"nomic-bert"
    pair = len(name).to_bytes(8, "little") + name + (8).to_bytes(4, "little") + len(value).to_bytes(8, "little") + value
    path.write_bytes(b"GGUF\x03\0\0\0" + bytes(8) + (1).to_bytes(8, "little") + pair)
    assert read_header(path).embeds
