"""`roost serve-model`."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import sys
import threading
from types import FrameType
from typing import Any

import click
import msgspec

from roost.cli.app import App
from roost.cli.options import WholeNumber, command
from roost.cli.output import note, say

ENGINES = ("llama.cpp", "ollama", "vllm", "transformers")


@command("serve-model")
@click.argument("model", required=False)
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default=ENGINES[0],
    show_default=True,
    help="The engine that runs the model.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=WholeNumber(0, 65535), default=8800, show_default=True, help="0 takes a free one.")
@click.option(
    "--key", metavar="TEXT", help="The key that requests must have. [env: ROOST_SERVE_KEY; default: a random one]"
)
@click.option("--name", metavar="TEXT", help="The model's name in requests. [default: the file's or the model's name]")
@click.option("--slots", type=WholeNumber(1, 512), help="Requests at the same time. [default: 4, or the engine's]")
@click.option("--context", type=WholeNumber(64), metavar="TOKENS", help="Tokens of each conversation. [default: 4096]")
@click.option("--threads", type=WholeNumber(1), help="Threads of the CPU. [default: the cores less one]")
@click.option("--gpu-layers", type=WholeNumber(0), metavar="N", help="The number of layers that run on the GPU.")
@click.option("--embeddings/--chat", default=None, help="The purpose of the server. [default: as the model says]")
@click.option(
    "--device-memory", type=float, metavar="SHARE", help="vLLM: the share of each device's memory, from 0 to 1."
)
@click.option("--max-memory", metavar="LIST", help="Transformers: by device, as in 0=20GiB,1=20GiB,cpu=64GiB.")
@click.option("--devices", type=WholeNumber(1), metavar="N", help="vLLM: the number of devices for the model.")
@click.option("--dry-run", is_flag=True, help="For another engine: only print its command.")
def serve_model(
    app: App,
    model: str | None,
    engine: str,
    embeddings: bool | None,
    max_memory: str | None,
    dry_run: bool,
    **given: Any,
) -> int:
    """Serve a local model by the OpenAI protocol: MODEL is the path of a GGUF file, or the name of a model of `roost
    pull`. For another engine it is the engine's own name of the model.

    The server answers on this machine only, to requests with the key, until Ctrl-C.
    """
    from roost.local.serving.wanted import Wanted

    given["key"] = given["key"] or os.environ.get("ROOST_SERVE_KEY")
    wanted = Wanted(model=model or "", max_memory=_memory(max_memory), **_named(given))
    if engine != ENGINES[0]:
        if embeddings is not None:
            raise click.UsageError(f"{engine} knows by itself what a model is for: leave out --embeddings and --chat")
        return _other(engine, wanted, dry_run=dry_run)
    if dry_run or wanted.max_memory or wanted.device_memory is not None or wanted.devices is not None:
        raise click.UsageError("--dry-run, --device-memory, --max-memory and --devices are for other engines")
    return _gguf(wanted, model, embeddings)


def _named(given: dict[str, Any]) -> dict[str, Any]:
    return {**given, "name": given["name"] or ""}


def _memory(text: str | None) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in (text or "").split(",") if pair.strip()]
    if any(not device.strip() or not most.strip() for device, _, most in pairs):
        raise click.BadParameter("give pairs, as in 0=20GiB,cpu=64GiB", param_hint="--max-memory")
    return {device.strip(): most.strip() for device, _, most in pairs}


def _gguf(wanted: Any, model: str | None, embeddings: bool | None) -> int:
    from roost.cli.weights_download import fetch
    from roost.local.serving.llama import LlamaServer
    from roost.local.serving.wanted import check_exposure, free_port
    from roost.models.http import LOOPBACK

    check_exposure(wanted)
    free_port(wanted.host, wanted.port)
    path = fetch(model, ready=False)
    if wanted.key is None and wanted.host in LOOPBACK:
        wanted = msgspec.structs.replace(wanted, key=secrets.token_urlsafe(24))
    note(f"loading {path.name} …")
    # No handler would run while the library loads, and nothing needs cleanup yet.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    server = LlamaServer(path, wanted, embeddings=embeddings)
    stop = _asked_to_stop()
    what = "embeddings" if server.embeds else f"{server.slots} slots of {server.context} tokens"
    _greet(server.url, server.name, server.key, what, chat=not server.embeds)
    stop.wait()
    note("stopped")
    sys.stdout.flush()
    sys.stderr.flush()
    # The library would wait for running requests, with the interpreter blocked. It holds nothing to save.
    os._exit(0)


def _other(engine: str, wanted: Any, *, dry_run: bool) -> int:
    from roost.local.serving.child import run
    from roost.local.serving.engines import ENGINES as KNOWN
    from roost.local.serving.engines import planned, program
    from roost.local.serving.wanted import base_url, free_port
    from roost.models.http import LOOPBACK

    if not wanted.model:
        raise click.UsageError(f"name the model, as {engine} calls it")
    if not dry_run:
        program(engine)
        wanted = msgspec.structs.replace(wanted, port=free_port(wanted.host, wanted.port))
        if wanted.key is None and "key" in KNOWN[engine][1] and wanted.host in LOOPBACK:
            wanted = msgspec.structs.replace(wanted, key=secrets.token_urlsafe(24))
    plan = planned(engine, wanted)
    if dry_run:
        say(plan.shown())
        return 0
    note(plan.shown())
    url = base_url(wanted.host, wanted.port)
    keyed = wanted.key or ("" if "key" in KNOWN[engine][1] else None)
    run(plan, wanted.host, wanted.port, stop=_asked_to_stop(), ready=lambda: _greet(url, plan.name, keyed, engine))
    note("stopped")
    return 0


def _greet(url: str, name: str, key: str | None, what: str, *, chat: bool = True) -> None:
    say(f"serving {name} ({what}) on {url}")
    if key:
        say(f"key: {key}")
    environ = f"ROOST_API_KEY={shlex.quote(key)} " if key else ""
    if chat:
        say(f'{environ}roost run --model {shlex.quote(f"{url}#{name}")} "…"')
    else:
        say(f"{environ.replace('ROOST', 'OPENAI')}OPENAI_BASE_URL={url}")
    sys.stdout.flush()
    note("Ctrl-C stops it")


def _asked_to_stop() -> threading.Event:
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, handle)
    return stop
