"""Read `models.toml`: the home's, overlaid by the file that `ROOST_MODELS` names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec

from roost.errors import ConfigError
from roost.models.catalog.reader import catalog
from roost.models.catalog.refreshed import read_home
from roost.money.budgets import BudgetEntry
from roost.providers.config import AccountEntry, EmbedEntry, ModelEntry, ModelsConfig
from roost.providers.config_validation import check_sense
from roost.providers.secret_refs import FORMS, KINDS, is_reference
from roost.providers.toml_file import TomlFile, dotted, read_toml
from roost.routing.route import ProfileEntry

FILE = "models.toml"
VARIABLE = "ROOST_MODELS"
_TABLES: dict[str, type[msgspec.Struct]] = {
    "accounts": AccountEntry,
    "models": ModelEntry,
    "profiles": ProfileEntry,
}
_SINGLE: dict[str, type[msgspec.Struct]] = {"budget": BudgetEntry, "embeddings": EmbedEntry}


def load_config(home: Path | None, environ: Mapping[str, str]) -> ModelsConfig:
    """Read the home's file, overlaid field by field by the one that `ROOST_MODELS` names; lists are replaced whole.
    Without any file the catalog alone counts. The present folder is never read. Also reads the home's refreshed
    catalog. Raises `ConfigError`, which names the file, the line and the fix and shows no key. Blocks for a moment."""
    files: list[TomlFile] = []
    refreshed = None if home is None else read_home(home).catalog
    if home is not None and (home / FILE).exists():
        files.append(read_toml(home / FILE))
    if named := environ.get(VARIABLE, "").strip():
        path = Path(named).expanduser()
        if not path.exists():
            raise ConfigError(f"{VARIABLE} names {str(path)!r}, which is not there: correct it or unset it")
        files.append(read_toml(path))
    merged: dict[str, Any] = {}
    for file in files:
        _check(file)
        _lay(merged, file.data)
    for file in files:
        check_sense(file, merged, refreshed or catalog())
    return msgspec.structs.replace(msgspec.convert(merged, ModelsConfig), catalog=refreshed)


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


def _check(file: TomlFile) -> None:
    """Check the shape of a file. Raises `ConfigError`."""
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


def _table(file: TomlFile, place: Sequence[str], value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise file.wrong(place, f"must be a table, as in [{dotted(place)}]")
    return cast("dict[str, Any]", value)


def _fields(file: TomlFile, place: Sequence[str], table: Mapping[str, Any], kind: type[msgspec.Struct]) -> None:
    known = [name for name in kind.__struct_fields__ if (kind, name) != (ModelsConfig, "catalog")]
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise file.wrong((*place, name), f"unknown field{hint} The known ones are {', '.join(known)}")


def _convert(file: TomlFile, place: Sequence[str], value: object, kind: type[msgspec.Struct]) -> None:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        inner = [part for part in re.split(r"[.\[\]`]+", where) if part and part != "..."]
        raise file.wrong((*place, *inner), what[:1].lower() + what[1:].replace("`", "")) from error
    except ConfigError as error:
        raise file.wrong(place, error.message) from error


def _check_secrets(file: TomlFile, place: Sequence[str], fields: Mapping[str, Any]) -> None:
    for field, variable in (("key", "API_KEY"), ("report_key", "ADMIN_KEY")):
        key = fields.get(field)
        if not isinstance(key, str) or is_reference(key):
            continue
        if key.partition(":")[0] in KINDS:
            raise file.wrong((*place, field), f"this reference names nothing. {FORMS}")
        name = re.sub(r"\W", "_", place[-1]).upper()
        raise file.wrong(
            (*place, field),
            f'a key does not belong into this file. Put it into a variable and write {field} = "env:{name}_{variable}"'
            " (or keyring:SERVICE/NAME, or file:PATH); if it was the key itself that stood here, make a new one",
        )
    url = fields.get("base_url")
    if isinstance(url, str) and re.match(r"[a-z]+://[^/]*@", url, re.IGNORECASE):
        raise file.wrong((*place, "base_url"), 'a user or password does not belong into a URL: use key = "env:NAME"')
