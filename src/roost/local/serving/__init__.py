"""Local models behind the OpenAI protocol: a GGUF file by this process, other engines by their own servers."""
