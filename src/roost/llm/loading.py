"""Reads `models.toml`: the home's, and over it the file that `ROOST_MODELS` names."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import msgspec

from roost.errors import ConfigError
from roost.llm.catalog.reader import catalog
from roost.llm.compile import FAMILIES
from roost.llm.config import AccountEntry, BudgetEntry, EmbedEntry, ModelEntry, ModelsConfig, ProfileEntry
from roost.llm.ir import EFFORTS
from roost.llm.keys import FORMS, KINDS, is_reference
from roost.llm.wires import WIRES

FILE = "models.toml"
VARIABLE = "ROOST_MODELS"
_MAX_BYTES = 1024 * 1024
_TABLES: dict[str, type[msgspec.Struct]] = {
    "accounts": AccountEntry,
    "models": ModelEntry,
    "profiles": ProfileEntry,
}
_TAKEN = {"local": "the embedded models", "auto": "the router"}
_SINGLE: dict[str, type[msgspec.Struct]] = {"budget": BudgetEntry, "embeddings": EmbedEntry}


class _File(NamedTuple):
    path: Path
    text: str
    data: dict[str, Any]


def load_config(home: Path | None, environ: Mapping[str, str]) -> ModelsConfig:
    """The home's file under the one that `ROOST_MODELS` names, field by field; lists are replaced whole. Without any
    file everything is as the catalog has it. Nothing is looked for in the present folder. Raises `ConfigError`, which
    names the file, the line and the fix and shows no key. Blocks for a moment."""
    files: list[_File] = []
    if home is not None and (home / FILE).exists():
        files.append(_read(home / FILE))
    if named := environ.get(VARIABLE, "").strip():
        path = Path(named).expanduser()
        if not path.exists():
            raise ConfigError(f"{VARIABLE} names {str(path)!r}, which is not there: correct it or unset it")
        files.append(_read(path))
    merged: dict[str, Any] = {}
    for file in files:
        _check(file)
        _lay(merged, file.data)
    for file in files:
        _check_sense(file, merged)
    return msgspec.convert(merged, ModelsConfig)


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        text = raw.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8") from error
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: at most 1 MB is read; this file is larger")
    try:
        return _File(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"(.*?) \(at (?:line (\d+), column \d+|end of document)\)", str(error), re.DOTALL)
        line = int(found[2]) if found and found[2] else text.count("\n") + 1
        raise ConfigError(f"{path}:{line}: not valid TOML: {found[1] if found else error}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid TOML: too deep") from error


def _lay(under: dict[str, Any], over: dict[str, Any]) -> None:
    for key, value in over.items():
        old = under.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            _lay(cast("dict[str, Any]", old), cast("dict[str, Any]", value))
        else:
            under[key] = _copy(value)


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in cast("dict[str, Any]", value).items()}
    return value


def _check(file: _File) -> None:
    """Raises `ConfigError` for what has not the right shape."""
    _fields(file, (), file.data, ModelsConfig)
    for table, kind in _TABLES.items():
        for name, entry in _table(file, (table,), file.data.get(table)).items():
            place = (table, name)
            fields = _table(file, place, entry)
            _fields(file, place, fields, kind)
            if table == "accounts":
                _check_secrets(file, place, fields)
            _convert(file, place, fields, kind)
    for name, kind in _SINGLE.items():
        if name in file.data:
            fields = _table(file, (name,), file.data[name])
            _fields(file, (name,), fields, kind)
            _convert(file, (name,), fields, kind)
    _convert(file, (), file.data, ModelsConfig)


def _table(file: _File, place: Sequence[str], value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _error(file, place, f"must be a table, as in [{_dotted(place)}]")
    return cast("dict[str, Any]", value)


def _fields(file: _File, place: Sequence[str], given: Mapping[str, Any], kind: type[msgspec.Struct]) -> None:
    known = kind.__struct_fields__
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise _error(file, (*place, name), f"unknown field{hint} The known ones are {', '.join(known)}")


def _convert(file: _File, place: Sequence[str], given: object, kind: type[msgspec.Struct]) -> None:
    try:
        msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        inner = [part for part in re.split(r"[.\[\]`]+", where) if part and part != "..."]
        raise _error(file, (*place, *inner), what[:1].lower() + what[1:].replace("`", "")) from error
    except ConfigError as error:
        raise _error(file, place, error.message) from error


def _check_secrets(file: _File, place: Sequence[str], fields: Mapping[str, Any]) -> None:
    key = fields.get("key")
    if isinstance(key, str) and not is_reference(key):
        if key.partition(":")[0] in KINDS:
            raise _error(file, (*place, "key"), f"this reference names nothing. {FORMS}")
        name = re.sub(r"\W", "_", place[-1]).upper()
        raise _error(
            file,
            (*place, "key"),
            f'a key does not belong into this file. Put it into a variable and write key = "env:{name}_API_KEY"'
            " (or keyring:SERVICE/NAME, or file:PATH); if it was the key itself that stood here, make a new one",
        )
    url = fields.get("base_url")
    if isinstance(url, str) and re.match(r"[a-z]+://[^/]*@", url):
        raise _error(file, (*place, "base_url"), 'a user or password does not belong into a URL: use key = "env:NAME"')


def _check_sense(file: _File, merged: Mapping[str, Any]) -> None:
    """Raises `ConfigError` for names that lead nowhere and numbers that mean nothing."""
    known = catalog().accounts
    accounts: dict[str, dict[str, Any]] = merged.get("accounts", {})
    for name in file.data.get("accounts", {}):
        place, entry = ("accounts", name), accounts[name]
        if "/" in name or ":" in name or not name:
            raise _error(file, place, "an account's name has no '/' and no ':'")
        if name in _TAKEN:
            raise _error(file, place, f"{name!r} means {_TAKEN[name]}: give the account another name")
        if name not in known and not entry.get("base_url"):
            raise _error(file, place, f"needs a base_url, since no known account has this name{_near(name, known)}")
        _known(file, (*place, "wire"), entry.get("wire"), WIRES)
        if (url := entry.get("base_url")) is not None and not re.match(r"https?://[^/\s]+", url):
            raise _error(file, (*place, "base_url"), "must be a URL, as in 'https://host/v1'")
    for name, entry in file.data.get("models", {}).items():
        place = ("models", name)
        account, slash, rest = name.partition("/")
        if "://" not in name and not (slash and rest):
            raise _error(file, place, 'a model is named with its account, as in [models."openai/gpt-5-mini"]')
        if "://" not in name and account not in known and account not in accounts:
            raise _error(file, place, f"no account {account!r}{_near(account, [*known, *accounts])}")
        _known(file, (*place, "wire"), entry.get("wire"), WIRES)
        _known(file, (*place, "family"), entry.get("family"), FAMILIES)
        _check_numbers(file, place, entry)
    for name, entry in file.data.get("profiles", {}).items():
        _known(file, ("profiles", name, "effort"), entry.get("effort"), EFFORTS)
    _check_money(file, merged)


def _check_numbers(file: _File, place: Sequence[str], entry: Mapping[str, Any]) -> None:
    for field in ("window", "max_output"):
        if field in entry and entry[field] < 1:
            raise _error(file, (*place, field), "must be at least 1 (tokens)")
    for field, value in entry.get("price", {}).items():
        if isinstance(value, int | float) and not 0 <= value < float("inf"):
            raise _error(file, (*place, "price", field), "a price is 0 or more")


def _check_money(file: _File, merged: Mapping[str, Any]) -> None:
    rates: dict[str, float] = merged.get("rates", {})
    for name, rate in file.data.get("rates", {}).items():
        if not 0 < rate < float("inf"):
            raise _error(file, ("rates", name), "must be what one unit is worth in dollars, above 0")
    asked: list[tuple[Sequence[str], str | None]] = [
        (("budget", "currency"), file.data.get("budget", {}).get("currency"))
    ]
    for name, entry in file.data.get("models", {}).items():
        asked.append((("models", name, "currency"), entry.get("price", {}).get("currency")))
    for place, currency in asked:
        if currency is not None and currency not in rates and catalog().rate(currency) is None:
            raise _error(file, place, f"no rate is known for {currency!r}: give one under [rates], in dollars a unit")
    warn = file.data.get("budget", {}).get("warn")
    if warn is not None and not 0 < warn <= 1:
        raise _error(file, ("budget", "warn"), "must be a share of the month's budget, above 0 and at most 1")


def _known(file: _File, place: Sequence[str], name: str | None, known: Sequence[str] | Mapping[str, Any]) -> None:
    if name is not None and name not in known:
        raise _error(file, place, f"unknown {place[-1]} {name!r}. The known ones are {', '.join(known)}")


def _near(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _error(file: _File, place: Sequence[str], what: str) -> ConfigError:
    line = _line(file.text, place)
    at = f"{file.path}:{line}" if line else str(file.path)
    return ConfigError(f"{at}: {_dotted(place)}: {what}" if place else f"{at}: {what}")


def _dotted(place: Sequence[str]) -> str:
    return ".".join(part if re.fullmatch(r"[\w-]+", part) else f'"{part}"' for part in place)


def _line(text: str, place: Sequence[str]) -> int | None:
    """The line of the deepest part of `place` that can be found, each looked for behind the one before."""
    at, line = 0, None
    for part in place:
        name = rf"[\"']?{re.escape(part)}[\"']?"
        # In a header, before an equals sign, or in an inline table.
        found = re.compile(rf"(?m)^[ \t]*\[+[^\]\n]*?(?<![\w-]){name}[\].]|(?<![\w-]){name}[ \t]*[=.]").search(text, at)
        if found is None:
            continue
        at = found.start()
        line = text.count("\n", 0, found.end()) + 1
    return line
