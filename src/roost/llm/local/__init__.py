"""The embedded model: llama.cpp in this process, weights fetched once, tool calls by constrained decoding."""
