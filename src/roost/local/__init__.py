"""The embedded model: llama.cpp in a worker process, weights fetched once, tool calls by constrained decoding."""
