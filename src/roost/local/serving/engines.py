"""Engines with servers of their own: the command that serves a model, with the settings of its memory.

The options are those of vLLM 0.2x (docs.vllm.ai/en/latest/cli/serve), of `transformers serve` of Transformers 5
(huggingface.co/docs/transformers/serving) and of Ollama (docs.ollama.com/faq and .../modelfile), read in November 2026.
"""

from __future__ import annotations

import importlib.util
import json
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from roost.errors import ConfigError
from roost.local.serving.wanted import Wanted, check_exposure

SECRET = frozenset({"VLLM_API_KEY"})
MODELFILE = "{modelfile}"
"""Stands in a command for the path of the plan's `modelfile`."""
_INSTALL = {
    "vllm": "pip install vllm (it needs a GPU)",
    "transformers": "pip install 'transformers[serving]' accelerate torch",
    "ollama": "see ollama.com/download",
}


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The commands to run: `command` with `environ` over this process's environment, then, once it listens, each of
    `after`. `name`: the model's name in requests."""

    engine: str
    command: tuple[str, ...]
    name: str
    environ: dict[str, str] = {}
    after: tuple[tuple[str, ...], ...] = ()
    modelfile: str | None = None

    def shown(self) -> str:
        """Return the command for people and shells, without keys."""
        environ = [f"{name}={'…' if name in SECRET else shlex.quote(value)}" for name, value in self.environ.items()]
        lines = [" ".join([*environ, shlex.join(self.command)])]
        if self.modelfile is not None:
            lines += ["# Modelfile:", *(f"#   {line}" for line in self.modelfile.splitlines())]
        prefix = [item for item in environ if item.startswith("OLLAMA_HOST=")]
        return "\n".join([*lines, *(" ".join([*prefix, shlex.join(command)]) for command in self.after)])


def planned(engine: str, wanted: Wanted) -> Plan:
    """Return the plan for a `wanted` whose port is chosen. Raises `ConfigError` for a setting that the engine lacks, an
    unsafe address, and a name that would be read as an option or as a line of its own."""
    make, known = ENGINES[engine]
    for name in (wanted.model, wanted.name):
        if name.startswith("-") or not name.isprintable():
            raise ConfigError(f"{name!r} cannot be the name of a model")
    named = {
        name
        for name in ("key", "slots", "context", "threads", "gpu_layers", "device_memory", "max_memory", "devices")
        if getattr(wanted, name) not in (None, {})
    }
    if unknown := sorted(named - known):
        options = ", ".join(f"--{name.replace('_', '-')}" for name in unknown)
        raise ConfigError(f"{engine} has no such setting: leave out {options}")
    if wanted.device_memory is not None and not 0 < wanted.device_memory <= 1:
        raise ConfigError("--device-memory is the share of a device's memory: above 0, and at most 1")
    check_exposure(wanted, keyed="key" in known)
    return make(wanted)


def program(engine: str) -> tuple[str, ...]:
    """Return the command for a plan's first word on this machine. Raises `ConfigError` that says how to install it."""
    if engine == "transformers":
        if all(importlib.util.find_spec(name) for name in ("transformers", "torch")):
            return (sys.executable, "-P", str(Path(__file__).with_name("hf_launcher.py")))
    elif path := shutil.which(engine):
        return (path,)
    elif engine == "vllm" and importlib.util.find_spec("vllm"):
        return (sys.executable, "-m", "vllm.entrypoints.cli.main")
    raise ConfigError(f"{engine} is not installed here: {_INSTALL[engine]}", code="engine_missing")


def _vllm(wanted: Wanted) -> Plan:
    name = wanted.name or wanted.model
    command = ["vllm", "serve", wanted.model, "--host", wanted.host, "--port", str(wanted.port)]
    command += ["--served-model-name", name]
    command += _options(
        {
            "--max-num-seqs": wanted.slots,
            "--max-model-len": wanted.context,
            "--gpu-memory-utilization": wanted.device_memory,
            "--tensor-parallel-size": wanted.devices,
        }
    )
    # Not on the command line, which every user of the machine can read.
    environ = {"VLLM_API_KEY": wanted.key} if wanted.key else {}
    return Plan(engine="vllm", command=tuple(command), name=name, environ=environ)


def _transformers(wanted: Wanted) -> Plan:
    command = ["transformers", "serve", "--force-model", wanted.model, "--host", wanted.host]
    command += ["--port", str(wanted.port), "--device", "auto", "--model-timeout", "-1"]
    command += ["--continuous-batching"] if (wanted.slots or 1) > 1 else []
    environ = {"OMP_NUM_THREADS": str(wanted.threads)} if wanted.threads else {}
    if wanted.max_memory:
        environ["ROOST_MAX_MEMORY"] = json.dumps(wanted.max_memory)
    return Plan(engine="transformers", command=tuple(command), name=wanted.model, environ=environ)


def _ollama(wanted: Wanted) -> Plan:
    host = f"[{wanted.host}]" if ":" in wanted.host else wanted.host
    environ = {"OLLAMA_HOST": f"{host}:{wanted.port}"}
    if wanted.slots:
        environ["OLLAMA_NUM_PARALLEL"] = str(wanted.slots)
    if wanted.context:
        environ["OLLAMA_CONTEXT_LENGTH"] = str(wanted.context)
    settings = {"num_ctx": wanted.context, "num_gpu": wanted.gpu_layers, "num_thread": wanted.threads}
    lines = [f"PARAMETER {name} {value}" for name, value in settings.items() if value is not None]
    own = wanted.model.endswith(".gguf")
    if not own and not lines:
        pull = ("ollama", "pull", wanted.model)
        return Plan(engine="ollama", command=("ollama", "serve"), name=wanted.model, environ=environ, after=(pull,))
    # Settings belong to a model there: one is made that has them.
    source = str(Path(wanted.model).expanduser().resolve()) if own else wanted.model
    plain = Path(wanted.model).name.removesuffix(".gguf").lower()
    name = wanted.name or f"{plain.partition(':')[0]}:roost"
    return Plan(
        engine="ollama",
        command=("ollama", "serve"),
        name=name,
        environ=environ,
        after=(("ollama", "create", name, "-f", MODELFILE),),
        modelfile="\n".join([f"FROM {source}", *lines]) + "\n",
    )


def _options(values: Mapping[str, float | None]) -> list[str]:
    return [word for option, value in values.items() if value is not None for word in (option, str(value))]


ENGINES: dict[str, tuple[Callable[[Wanted], Plan], frozenset[str]]] = {
    "vllm": (_vllm, frozenset({"key", "slots", "context", "device_memory", "devices"})),
    "transformers": (_transformers, frozenset({"slots", "threads", "max_memory"})),
    "ollama": (_ollama, frozenset({"slots", "context", "threads", "gpu_layers"})),
}
"""By name: what makes the plan, and the settings that it passes on."""
