from .utils import _parse_json_output  # pyright: ignore[reportPrivateUsage]

__all__ = ["_parse_json_output"]
