"""A GGUF file behind the OpenAI protocol, by llama.cpp's own server in this process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from roost.local.library import EngineFailed, engine_library
from roost.local.memory_budget import give_back, need_memory
from roost.local.serving.header import Header, read_header
from roost.local.serving.wanted import Wanted, base_url, check_exposure, free_port
from roost.local.settings import from_environment

SLOTS = 4
CONTEXT = 4_096
"""Tokens of each conversation, where the model's window has them and nothing else is asked for."""


class LlamaServer:
    """Serves `path` from the end of `__init__` on, which loads it and takes long, to the end of `close`. Raises
    `ConfigError` (address, key, port), `OutOfMemory` and `EngineFailed`.

    Chat completions with streaming, tools and JSON schemas, for as many requests at once as there are slots, others
    wait; embeddings instead where the model is made for them, or `embeddings` says so. `name` is what requests call it.
    """

    def __init__(self, path: Path, wanted: Wanted, *, embeddings: bool | None = None) -> None:
        check_exposure(wanted)
        header = read_header(path)
        self.slots = wanted.slots or SLOTS
        self.context = _context(wanted.context, header)
        self.embeds = header.embeds if embeddings is None else embeddings
        self.name = wanted.name or path.name.removesuffix(".gguf")
        self.key = wanted.key
        port = free_port(wanted.host, wanted.port)
        need_memory(path, self.context * self.slots)
        library = engine_library()
        params = self._params(library, path, wanted, port, pooled=header.embeds)
        self._server: Any = None
        try:
            self._server = library.Server(params)
        except Exception as error:  # the library raises bare RuntimeErrors
            raise EngineFailed(
                f"llama.cpp cannot serve {path.name!r}: {error}. Is it a whole GGUF file, and the port still free?",
                code="load_failed",
            ) from error
        self.url = base_url(wanted.host, port)

    def _params(self, library: Any, path: Path, wanted: Wanted, port: int, *, pooled: bool) -> Any:
        params = library.CommonParams()
        params.model.path = os.fspath(path)
        params.model_alias = {self.name}
        params.hostnames = [wanted.host]
        params.port = port
        params.n_parallel = self.slots
        params.n_ctx = self.context * self.slots
        threads = wanted.threads or from_environment().threads
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        if wanted.gpu_layers is not None:
            params.n_gpu_layers = wanted.gpu_layers
        if self.embeds:
            params.embedding = True
            # A text is one batch then. Several in a batch get wrong means where each slot has memory of its own (seen
            # with xllamacpp 2026.10).
            params.kv_unified = True
            params.n_batch = params.n_ubatch = self.context
            if not pooled:
                params.pooling_type = library.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        params.api_keys = [wanted.key] if wanted.key else []
        params.cache_ram_mib = 256
        params.warmup = False
        params.verbosity = -1
        params.endpoint_slots = False
        params.ui = False
        return params

    def close(self) -> None:
        """End after the running requests; blocks this whole process until then. A process that only serves leaves by
        `os._exit` instead. May be called twice."""
        self._server = None
        give_back()


def _context(asked: int | None, header: Header) -> int:
    if asked is not None:
        return asked
    return min(CONTEXT, header.window or CONTEXT)
