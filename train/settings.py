"""Settings: one frozen dataclass per stage, one TOML file each, any field overridable on the command line."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import errno
import os
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Settings = TypeVar("Settings")

SHARDING = {  # variables by which ``accelerate launch`` asks for a model in pieces
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism configuration",
}


def build(cls: type[Settings], values: dict[str, Any], where: str) -> Settings:
    """``values`` as a dataclass ``cls``, nested dataclasses included.

    Raises:
        ValueError: for an unknown key (the nearest name is offered) or a value of the wrong kind.
    """
    hints = typing.get_type_hints(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    if unknown := [key for key in values if key not in names]:
        raise ValueError(about_unknown(unknown, names, where))
    for field in dataclasses.fields(cls):
        if field.name not in values and field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"expected the setting {field.name!r} in {where}, found none")
    return cls(**{key: convert(value, hints[key], f"{where}: {key}") for key, value in values.items()})


def about_unknown(unknown: list[str], names: list[str], where: str) -> str:
    """What to say of unknown settings: a few are slips, many are those of something else."""
    first = f"unknown setting {unknown[0]!r}"
    if len(unknown) > 3:
        return f"{first} and {len(unknown) - 1} more in {where}; is this the file of another stage or model?"
    near = difflib.get_close_matches(unknown[0], names, n=1)
    return f"{first} in {where}" + (f"; did you mean {near[0]!r}?" if near else "")


def convert(value: Any, hint: Any, where: str) -> Any:
    """One value to its annotated type; numbers and text only, tuples from lists, dataclasses from tables."""
    if dataclasses.is_dataclass(hint):
        return build(hint, value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        kinds = tuple(a for a in arguments if a is not type(None))
        if all(dataclasses.is_dataclass(kind) for kind in kinds):
            return build_kind(value, kinds, where)
        return None if value is None else convert(value, kinds[0], where)
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if len(arguments) == 2 and arguments[1] is ... else arguments
        return tuple(convert(item, kind, where) for item, kind in zip(value, kinds, strict=True))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool) and type(value) is not hint:
        raise ValueError(f"expected {where} to be {hint.__name__}, got {value!r}")
    return value


def build_kind(table: dict[str, Any], classes: tuple[type, ...], where: str) -> Any:
    """A table as the one of several dataclasses that its ``kind`` names ("taming" for TamingConfig); the first
    by default. ValueError for another kind."""
    kinds = {cls.__name__.removesuffix("Config").lower(): cls for cls in classes}
    kind = table.get("kind", next(iter(kinds)))
    if kind not in kinds:
        raise ValueError(f"expected {where}: kind to be one of {', '.join(kinds)}, got {kind!r}")
    return build(kinds[kind], {key: value for key, value in table.items() if key != "kind"}, where)


def parse(
    cls: type[Settings], description: str, argv: list[str] | None = None
) -> tuple[Settings, argparse.Namespace]:
    """Read ``--config FILE`` and ``--field value`` overrides (``--model.depth 2`` for nested fields).

    Returns:
        The settings, and the flags that belong to every trainer: ``dry_run``.

    Raises:
        ValueError: as :func:`build` and :func:`refuse_sharding`, or for a file that is missing or is not TOML.
    """
    refuse_sharding()
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, help="TOML file of settings")
    parser.add_argument(
        "--dry-run",
        "--dry_run",
        action="store_true",
        help="build everything, print sizes, train nothing",
    )
    flags, rest = parser.parse_known_args(argv)
    values = read_toml(flags.config) if flags.config else {}
    for key, text in overrides(rest):
        *tables, name = key.split(".")
        table = values
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = literal(text)
    source = f"{flags.config} and the command line" if flags.config else "the command line"
    return build(cls, values, source), flags


def refuse_sharding() -> None:
    """Raise ValueError if the launcher asks for a model cut into pieces over processes.

    Each stage writes its own states from whole modules, with two optimisers of which one (Muon) needs whole
    matrices; pieces would be saved as if they were all. The models are small: a copy in every process fits.
    """
    asked = [name for key, name in SHARDING.items() if os.environ.get(key, "false").lower() == "true"]
    if asked:
        raise ValueError(
            f"expected a launch with the whole model in every process, got {asked[0]}: use accelerate launch "
            "--multi_gpu (train/launch/eight-gpus.yaml) or torchrun"
        )


def guard(main: Callable[[], object]) -> None:
    """Run a command; what its user or the disk did wrong ends it with one line and status 2, without a traceback."""
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        sys.exit(2)


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line like every other, without the usage before it."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see --help)")


def one_line(error: Exception) -> str:
    """The message of an error; where a loader's process passed it on with its traceback, what stands at the end."""
    text = str(error).strip()
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        text += ": make room and start the same command again; what was saved before is kept"
    if "\nOriginal Traceback" in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return text


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dict; ValueError if it is missing or malformed."""
    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"expected a settings file at {path}, found none") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"expected TOML in {path}: {error}") from None


def overrides(arguments: list[str]) -> list[tuple[str, str]]:
    """``--a-b x --c=y`` as ``[("a_b", "x"), ("c", "y")]``."""
    pairs, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise ValueError(f"expected a setting like --name value, got {word!r}")
        key, equals, text = word[2:].partition("=")
        if not equals:
            if not rest:
                raise ValueError(f"expected a value after {word}")
            text = rest.pop(0)
        pairs.append((key.replace("-", "_"), text))
    return pairs


def literal(text: str) -> Any:
    """A command-line word as a TOML value, or as plain text if it is none."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
