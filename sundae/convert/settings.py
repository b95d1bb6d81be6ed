"""The settings that foreign projects keep beside their weights: YAML, TOML or JSON, read as plain values."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

MAX_BYTES = 1 << 16  # real ones have a few thousand
MAX_BRACKETS = 1000  # the YAML reader takes time by their square
Settings = dict[str, Any]


def read_settings(path: Path) -> Settings:
    """A settings file as plain values; what it is follows from its extension.

    Raises:
        ValueError: if it is missing, too large, of another kind, or does not hold a table.
    """
    readers = {".yaml": read_yaml, ".yml": read_yaml, ".toml": read_toml, ".json": json.loads}
    if path.suffix.lower() not in readers:
        raise ValueError(f"expected settings as .yaml, .toml or .json, got {path}")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"expected settings of at most {MAX_BYTES} bytes, got {path}")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"expected readable settings at {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"expected settings as text in {path}, got other bytes") from None
    kind = path.suffix[1:].upper()
    try:
        values = readers[path.suffix.lower()](text)
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ValueError(f"expected {kind} in {path}: {reason or 'nested too deeply'}") from None
    if not isinstance(values, dict):
        raise ValueError(f"expected a table of settings in {path}, got {type(values).__name__}")
    return values


def read_yaml(text: str) -> Any:
    """YAML without tags that would make objects; aliases are shared and not copied."""
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        raise ValueError(f"at most {MAX_BRACKETS} brackets are read")
    import yaml  # here: most models come without, and it takes its time

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from None


def read_toml(text: str) -> Any:
    try:
        return importlib.import_module("tomllib").loads(text)
    except ModuleNotFoundError:  # Python 3.10; the weights tell all that is needed
        raise ValueError(
            "Python 3.11 reads TOML; leave the settings out, they only check the weights"
        ) from None


def lookup(settings: Settings, *path: str) -> Any:
    """The value at the end of a path of keys; None if there is none."""
    value: Any = settings
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def whole(settings: Settings, *path: str) -> int | None:
    """A positive whole number at the end of a path of keys; None if there is nothing.

    Raises:
        ValueError: if there is something else.
    """
    value = lookup(settings, *path)
    if value is not None and (type(value) is not int or value < 1):
        raise ValueError(
            f"expected a positive whole number for {'.'.join(path)} in the settings, got {value!r}"
        )
    return value


def agree(what: str, settings: Any, weights: Any) -> None:
    """Raise ValueError if the settings give a value and the weights show another."""
    if settings is not None and settings != weights:
        raise ValueError(f"expected {what} {settings!r} as the settings say, got weights with {weights!r}")
