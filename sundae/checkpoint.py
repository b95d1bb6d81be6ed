"""Bundles: a folder with ``config.json`` and safetensors files, loaded strictly and checked by hash.

Dataclasses become JSON and come back with every key known; weights may be half precision on disk and are
float32 in memory; a large module is cut into shards below 10 MB, so that a folder can be pushed with git.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import re
import shutil
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook

from sundae.hourglass import Hourglass, HourglassConfig
from sundae.maskgit import MaskGITConfig, MaskGITTokenizer
from sundae.priors.absorbing import Absorbing, AbsorbingConfig
from sundae.priors.authors import AuthorsConfig, AuthorsHourglass
from sundae.priors.autoregressive import Autoregressive, AutoregressiveConfig
from sundae.priors.contract import Prior
from sundae.taming import TamingConfig, TamingTokenizer
from sundae.tokenizer import PictureTokenizer, Tokenizer, TokenizerConfig
from sundae.vqgan import VQGANConfig, VQGANTokenizer

FORMAT_VERSION = 1
SHARD_BYTES = 9_000_000
MAX_VALUES = 100  # of a list in a config
FILE_NAME = re.compile(r"[A-Za-z0-9][\w.-]*\.safetensors", re.ASCII)
FOLDER_NAME = re.compile(r"[A-Za-z0-9][\w.-]*", re.ASCII)
PART_KEYS = {"kind", "config", "files", "hash"}
MORE_KEYS = {  # that a part may have besides: what suits it, and the bundle that holds the files
    "tokenizer": {"bundle", "most_correction"},
    "prior": {"bundle", "sampler"},
}


def to_json(config: Any) -> dict[str, Any]:
    """A config dataclass as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_json(cls: Any, values: Any, where: str) -> Any:
    """A config dataclass from JSON values.

    Raises:
        ValueError: if a key is unknown or missing, or a value does not fit.
    """
    fields = {field.name for field in dataclasses.fields(cls)}
    if not isinstance(values, dict) or set(values) != fields:
        found = sorted(values) if isinstance(values, dict) else values
        raise ValueError(f"expected {where} with the keys {sorted(fields)}, got {found}")
    hints = typing.get_type_hints(cls)
    try:
        return cls(**{name: restore(hints[name], value, where) for name, value in values.items()})
    except TypeError as error:
        raise ValueError(f"expected valid values in {where}: {error}") from None


def restore(hint: Any, value: Any, where: str) -> Any:
    """One JSON value to its annotated type: dataclasses from objects, tuples from lists."""
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list) or len(value) > MAX_VALUES:
            got = f"{len(value)}" if isinstance(value, list) else repr(value)
            raise ValueError(f"expected a list of at most {MAX_VALUES} values in {where}, got {got}")
        inner, *others = typing.get_args(hint)
        if others != [...] and len(value) != len(others) + 1:
            raise ValueError(f"expected {len(others) + 1} values in {where}, got {value!r}")
        return tuple(restore(inner, item, where) for item in value)
    if type(value) is not hint:
        raise ValueError(f"expected {hint.__name__} in {where}, got {value!r}")
    return value


def tensors_hash(state: dict[str, Tensor]) -> str:
    """SHA-256 of names, shapes and float16 values: the identity of a module's weights, whatever the file."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu()
        value = value.half() if value.is_floating_point() else value
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_bundle(
    folder: Path, parts: dict[str, nn.Module], provenance: dict[str, Any], half: bool = True
) -> None:
    """Write ``config.json`` and one or more safetensors files for each part.

    Args:
        folder: made if missing; the part's old files are replaced.
        parts: ``{"tokenizer": PictureTokenizer, "prior": Prior}`` or the tokenizer alone; each has ``.config``.
        provenance: plain JSON: commit, data, steps, metrics, licence.
        half: store half precision, and not all that there is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {"format_version": FORMAT_VERSION, "parts": {}, "provenance": provenance}
    for name, module in parts.items():
        for old in folder.glob(f"{name}*.safetensors"):
            old.unlink()
        dtype = torch.float16 if half else torch.float32
        state = {
            key: value.detach().cpu().to(dtype).contiguous() for key, value in module.state_dict().items()
        }
        groups = shards(state)
        files = {}
        for i, group in enumerate(groups):
            file = folder / (
                f"{name}.safetensors" if len(groups) == 1 else f"{name}-{i + 1}-of-{len(groups)}.safetensors"
            )
            save_file(group, file)
            file.chmod(0o644)  # safetensors writes files that only their owner may read
            files[file.name] = file_hash(file)
        content["parts"][name] = describe_part(module, files)
    write_config(folder, content)


def write_config(folder: Path, content: dict[str, Any]) -> None:
    (folder / "config.json").write_text(json.dumps(content, indent=1) + "\n")


def describe_part(module: nn.Module, files: dict[str, str]) -> dict[str, Any]:
    """What ``config.json`` says of a part whose weights are in ``files`` (name: SHA-256)."""
    part = {
        "kind": type(module).__name__.lower(),
        "config": to_json(module.config),
        "files": files,
        "hash": tensors_hash(module.state_dict()),
    }
    if isinstance(module, Prior) and (own := own_settings(module)):
        part["sampler"] = own
    if isinstance(module, PictureTokenizer) and module.most_correction != PictureTokenizer.most_correction:
        part["most_correction"] = module.most_correction
    return part


def own_settings(prior: Prior) -> dict[str, Any]:
    """The sampler's settings in which a prior differs from others of its kind."""
    usual, values = to_json(type(prior).defaults), to_json(prior.defaults)
    return {name: value for name, value in values.items() if value != usual[name]}


def suit_sampler(prior: Prior, settings: Any, where: str) -> None:
    """Make ``settings`` part of the prior's defaults.

    Raises:
        ValueError: if the sampler knows no such setting, or not this value of it.
    """
    try:
        prior.defaults = dataclasses.replace(prior.defaults, **settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected settings of the sampler in {where}, got {settings!r}: {error}") from None


def borrow_part(folder: Path, name: str, lender: Path) -> None:
    """Have a bundle use the files of another in the same folder for a part that both have, and not its own.

    Args:
        folder: the bundle; its files of the part are deleted.
        name: "tokenizer" or "prior".
        lender: the other bundle.

    Raises:
        ValueError: unless both lie in one folder and have the same weights there.
    """
    if lender.resolve().parent != folder.resolve().parent or lender.resolve() == folder.resolve():
        raise ValueError(f"expected another bundle beside {folder}, got {lender}")
    content, theirs = read_config(folder), read_parts(lender).get(name)
    own = read_parts(folder).get(name)
    if own is None or theirs is None or own["hash"] != theirs["hash"] or "bundle" in theirs:
        raise ValueError(f"expected {folder} and {lender} with the same {name}, and its files in {lender}")
    for file in [] if "bundle" in own else own["files"]:
        (folder / file).unlink()
    content["parts"][name] = {**own, "files": theirs["files"], "bundle": lender.resolve().name}
    write_config(folder, content)


def part_files(folder: Path, part: dict[str, Any]) -> dict[str, Path]:
    """Where a part's files lie: in its own bundle, or in the one beside it that it names."""
    home = folder.resolve().parent / part["bundle"] if "bundle" in part else folder
    return {file: home / file for file in part["files"]}


def gather(folder: Path, target: Path) -> None:
    """A bundle with all its files in one new folder: those that it borrows become its own."""
    shutil.copytree(folder, target)
    content = read_config(folder)
    for name, part in read_parts(folder).items():
        if "bundle" not in part:
            continue
        for file, path in part_files(folder, part).items():
            shutil.copyfile(path, target / file)
        del content["parts"][name]["bundle"]
    write_config(target, content)


def shards(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Cut a state into groups of at most about 9 MB, in the order of its keys."""
    groups: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, value in state.items():
        if groups[-1] and size + value.nbytes > SHARD_BYTES:
            groups.append({})
            size = 0
        groups[-1][key] = value
        size += value.nbytes
    return groups


def read_config(folder: Path) -> dict[str, Any]:
    """The checked ``config.json`` of a bundle.

    Raises:
        ValueError: if it is missing, is not JSON, or is of another format.
    """
    path = folder / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"expected a model bundle with a config.json at {folder}, found none") from None
    except OSError as error:
        raise ValueError(f"expected a readable {path}: {error.strerror}") from None
    except (ValueError, RecursionError):  # no UTF-8, no JSON, a number of 5,000 digits, a thousand brackets
        raise ValueError(f"expected JSON in {path}") from None
    keys = {"format_version", "parts", "provenance"}
    if not isinstance(content, dict) or set(content) != keys:
        raise ValueError(f"expected {path} with the keys {sorted(keys)}")
    if content["format_version"] != FORMAT_VERSION:
        raise ValueError(
            f"expected format_version {FORMAT_VERSION} in {path}, got {content['format_version']!r}"
        )
    if not isinstance(content["provenance"], dict):
        raise ValueError(f"expected the provenance in {path} as an object, got {content['provenance']!r}")
    return content


def read_parts(folder: Path) -> dict[str, dict[str, Any]]:
    """The parts of a bundle by name, each with its kind, config, hash and ``{file: SHA-256}``.

    Raises:
        ValueError: as :func:`read_config`; if a part is unknown or not complete; if a file's name is not that
            of a safetensors file beside the config.
    """
    path, parts = folder / "config.json", read_config(folder)["parts"]
    if not isinstance(parts, dict) or not set(parts) <= {"tokenizer", "prior"}:
        found = sorted(parts) if isinstance(parts, dict) else parts
        raise ValueError(f"expected a tokenizer, with or without a prior, in {path}, got {found}")
    for name, part in parts.items():
        if not isinstance(part, dict) or not PART_KEYS <= set(part) <= PART_KEYS | MORE_KEYS[name]:
            raise ValueError(f"expected a {name} in {path}, found none that is complete")
        if not isinstance(part["hash"], str):
            raise ValueError(f"expected the {name}'s hash in {path}, got {part['hash']!r}")
        files = part["files"]
        if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
            raise ValueError(f"expected the {name}'s files with their hashes in {path}, got {files!r}")
        for file in files:
            if not FILE_NAME.fullmatch(file):
                raise ValueError(f"expected a plain .safetensors file name in {path}, got {file!r}")
        bundle = part.get("bundle", name)
        if not isinstance(bundle, str) or not FOLDER_NAME.fullmatch(bundle):
            raise ValueError(f"expected the plain name of a bundle in {path}, got {bundle!r}")
    return parts


def read_part(folder: Path, name: str, kinds: dict[str, tuple[type, type]]) -> tuple[type, Any]:
    """Module class and config of a part, its weights unread.

    Args:
        folder: the bundle.
        name: "tokenizer" or "prior".
        kinds: ``kind -> (module class, config class)`` that may stand there.

    Raises:
        ValueError: if the part is missing, of an unknown kind, or its config does not hold.
    """
    part = read_parts(folder).get(name)
    if part is None:
        raise ValueError(f"expected a {name} in {folder / 'config.json'}, found none")
    if not isinstance(part["kind"], str) or part["kind"] not in kinds:
        raise ValueError(
            f"expected the {name} in {folder} to be one of {sorted(kinds)}, got {part['kind']!r}"
        )
    module_class, config_class = kinds[part["kind"]]
    return module_class, from_json(config_class, part["config"], f"{name} config in {folder / 'config.json'}")


def load_part(folder: Path, name: str, kinds: dict[str, tuple[type, type]]) -> Any:
    """One module of a bundle: built on the meta device, then its checked weights assigned as float32.

    Raises:
        ValueError: as :func:`read_part`, and if weights are missing, changed on disk, or do not fit the config.
    """
    module_class, config = read_part(folder, name, kinds)
    part = read_parts(folder)[name]
    state: dict[str, Tensor] = {}
    for file, path in part_files(folder, part).items():
        state |= read_weights(path, part["files"][file])
    try:
        with torch.device("meta"), at_most_modules(100 + 10 * len(state)):
            module = module_class(config)
    except (RuntimeError, TypeError):  # sizes beyond 64 bits
        raise ValueError(f"expected a {name} of a possible size in {folder / 'config.json'}") from None
    expected = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    if expected != found:
        wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise ValueError(
            f"expected the {name}'s weights in {folder} to fit its config; they differ at {wrong[0]} and {len(wrong) - 1} more"
        )
    if tensors_hash(state) != part["hash"]:
        raise ValueError(
            f"expected the {name}'s weights in {folder} to have the hash that its config.json gives"
        )
    for key in list(state):
        state[key] = state[key].float()
        if not bool(state[key].isfinite().all()):
            raise ValueError(f"expected finite weights in {folder}, found NaN or infinity in {key}")
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval().requires_grad_(False)


@contextlib.contextmanager
def at_most_modules(limit: int) -> Iterator[None]:
    """Refuse to build more modules than the weights can be for: a config that somebody else wrote may ask for a
    network that takes for ever.

    Raises:
        ValueError: when one more is built.
    """
    built = itertools.count(1)

    def count(module: nn.Module, name: str, child: nn.Module | None) -> None:
        if next(built) > limit:
            raise ValueError(
                f"expected a config for at most {limit} modules, as its weights are, got one for more"
            )

    handle = register_module_module_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()


def read_weights(path: Path, digest: str) -> dict[str, Tensor]:
    """Tensors of one file of a bundle; ValueError unless it is the file that the config knows."""
    if not path.is_file():
        raise ValueError(f"expected the weights {path}, found no such file")
    if file_hash(path) != digest:
        raise ValueError(
            f"expected {path} with SHA-256 {digest[:12]}…, got {file_hash(path)[:12]}…: the file is damaged or was changed"
        )
    try:
        return load_file(path)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"expected safetensors in {path}: {str(error).splitlines()[0]}") from None


TOKENIZERS = {  # kind: the class name in lower case
    "tokenizer": (Tokenizer, TokenizerConfig),
    "tamingtokenizer": (TamingTokenizer, TamingConfig),
    "vqgantokenizer": (VQGANTokenizer, VQGANConfig),
    "maskgittokenizer": (MaskGITTokenizer, MaskGITConfig),
}
PRIORS: dict[str, tuple[type[Prior], type]] = {
    "hourglass": (Hourglass, HourglassConfig),  # SUNDAE
    "absorbing": (Absorbing, AbsorbingConfig),
    "autoregressive": (Autoregressive, AutoregressiveConfig),
    "authorshourglass": (AuthorsHourglass, AuthorsConfig),
}


def load_tokenizer(folder: Path) -> PictureTokenizer:
    """The tokenizer of a bundle, with what suits its blending.

    Raises:
        ValueError: as :func:`load_part`, or for a correction that is no number above 0.
    """
    tokenizer = load_part(folder, "tokenizer", TOKENIZERS)
    part = read_parts(folder)["tokenizer"]
    if "most_correction" in part:
        most = part["most_correction"]
        if isinstance(most, bool) or not isinstance(most, int | float) or not 0 < most < math.inf:
            raise ValueError(f"expected most_correction above 0 in {folder / 'config.json'}, got {most!r}")
        tokenizer.most_correction = float(most)
    return tokenizer


def load_prior(folder: Path) -> Prior:
    """The prior of a bundle, with the settings that suit its sampler.

    Raises:
        ValueError: as :func:`load_part`, or for settings that the sampler does not know.
    """
    prior = load_part(folder, "prior", PRIORS)
    settings = read_parts(folder)["prior"].get("sampler", {})
    suit_sampler(prior, settings, f"{folder / 'config.json'}")
    return prior


def make_prior(config: Any) -> Prior:
    """A fresh prior of the kind that its config belongs to."""
    return next(module for module, shape in PRIORS.values() if type(config) is shape)(config)
