"""The command line: redraw a region, draw whole pictures, look at models.

    python -m sundae inpaint face.png --mask mask.png -o new.png --seed 7
    python -m sundae sample -o face.png --count 4
    python -m sundae reconstruct face.png -o back.png
    python -m sundae models
    python -m sundae info illustrated-1024

Whatever the caller can put right ends with exit code 2 and one line, before the work starts wherever that is
possible; Ctrl-C ends with 130 and leaves no half of a result behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sundae import image as images
from sundae import masks
from sundae.bundles import DEFAULT_MODEL, Model, find, load, models, weights_folder
from sundae.checkpoint import file_hash, read_config
from sundae.image import MAX_SIDE, MIN_SIDE, Picture
from sundae.pipeline import DEFAULT_FEATHER, Frame, Inpainter, generate, reconstruct, settings
from sundae.sampler import MAX_SEED, MAX_STEPS, SamplerConfig
from sundae.version import __version__

MAX_CANDIDATES = 16
MAX_COUNT = 1000
FRAME_NAME = re.compile(r"(seed-\d+-)?step-\d{4,}\.png")

Report = dict[str, Any]  # what --json prints
Lines = list[str]  # what is printed without it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, 2 on anything the caller can put right, 130 after Ctrl-C.
    """
    try:
        options = parser().parse_args(argv)
        report, lines = options.run(options)
        print(
            json.dumps(report) if options.json else "\n".join(printable(line) for line in lines), flush=True
        )
        return 0
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("sundae: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read the output has gone; Python would complain once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, MemoryError, torch.OutOfMemoryError) as error:
        print(f"sundae: error: {printable(str(error)) or type(error).__name__}", file=sys.stderr)
        return 2


def printable(text: str) -> str:
    """Text on one line, without what a terminal cannot show: the names of files may hold anything."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    text = "".join(c if c.isprintable() else " " for c in text)
    return text.encode(encoding, "backslashreplace").decode(encoding)


# -- options -------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line like every other, without the usage before it."""

    def __init__(self, **options: Any):
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> Any:
        raise ValueError(f"{message} (see --help)")


def parser() -> Parser:
    """The parser of all commands; each sets ``run`` to the function that does it."""
    top = Parser(prog="sundae", description="Redraw a region of a picture with a discrete denoising model.")
    top.add_argument("--version", action="version", version=f"sundae {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_inpaint(commands)
    add_sample(commands)
    add_reconstruct(commands)
    add_command(commands, list_models, "models", "List the models in the box.")
    add_info(commands)
    return top


def add_command(commands: Any, run: Callable[..., tuple[Report, Lines]], name: str, text: str) -> Parser:
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    command.add_argument("--json", action="store_true", help="print one JSON object instead of a summary")
    return command


def add_inpaint(commands: Any) -> None:
    text = "Redraw what a mask covers; every other pixel stays as it is."
    command = add_command(commands, inpaint, "inpaint", text)
    add, radius = command.add_argument, masks.MAX_RADIUS
    add("image", metavar="IMAGE", help="picture: PNG, JPEG, WebP, TIFF, BMP or GIF")
    add("--mask", required=True, help="picture of the same size: white = repaint, black = keep")
    add_output(command, "; with several candidates their seeds are added: out-7.png, out-8.png")
    add_sampler(command)
    candidates = whole(1, MAX_CANDIDATES)
    add("--candidates", metavar="K", type=candidates, default=1, help="results, of the seeds S, S+1 ... (1)")
    text = "share of the hidden tokens that start as noise; below 1 the result varies what is there (%(default)s)"
    add("--strength", metavar="X", type=number, default=SamplerConfig.strength, help=text)
    text = "widen the mask; a negative number shrinks it (0)"
    add("--grow", metavar="PX", type=whole(-radius, radius), default=0, help=text)
    text = "fade-in of the new pixels, inside the mask (%(default)s)"
    add("--feather", metavar="PX", type=whole(0, radius), default=DEFAULT_FEATHER, help=text)
    text = "rewrite a token when any, or all, of its pixels are white (any)"
    add("--mask-rule", choices=("any", "all"), default="any", help=text)
    add("--frames", metavar="DIR", type=Path, help="new folder for every step as a PNG")


def add_sample(commands: Any) -> None:
    command = add_command(commands, sample, "sample", "Draw whole pictures from nothing.")
    add = command.add_argument
    add_output(
        command, "; with several pictures their seeds are added, and Ctrl-C leaves those that are done"
    )
    add_sampler(command)
    add(
        "--count",
        metavar="N",
        type=whole(1, MAX_COUNT),
        default=1,
        help="pictures, of the seeds S, S+1 ... (1)",
    )
    side = whole(MIN_SIDE, MAX_SIDE)
    add("--width", metavar="PX", type=side, default=0, help="of the pictures (the model's)")
    add("--height", metavar="PX", type=side, default=0, help="of the pictures (the model's)")


def add_reconstruct(commands: Any) -> None:
    text = "Encode a picture to tokens and decode it again: what the model can see of it."
    command = add_command(commands, rebuild, "reconstruct", text)
    command.add_argument("image", metavar="IMAGE", help="picture: PNG, JPEG, WebP, TIFF, BMP or GIF")
    add_output(command)
    add_model(command)


def add_info(commands: Any) -> None:
    command = add_command(commands, info, "info", "Check a model and say what it is made of.")
    command.add_argument("model", metavar="BUNDLE", help="name of a model, or a bundle's folder")
    command.set_defaults(device="cpu")


def add_output(command: Parser, note: str = "") -> None:
    text = f"picture to write; its extension is its format{note}"
    command.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help=text)
    command.add_argument("--overwrite", action="store_true", help="replace what exists")


def add_model(command: Parser) -> None:
    text = "name of a model, or a bundle's folder (%(default)s)"
    command.add_argument("--model", metavar="M", default=DEFAULT_MODEL, help=text)
    command.add_argument("--device", metavar="D", default="cpu", help="torch device, such as cuda (cpu)")


def add_sampler(command: Parser) -> None:
    add_model(command)
    add, default = command.add_argument, SamplerConfig()
    add("--seed", metavar="S", type=whole(0, MAX_SEED), default=0, help="same seed, same picture (0)")
    text = "at most this many; a result that has settled stops early (%(default)s)"
    add("--steps", metavar="N", type=whole(1, MAX_STEPS), default=default.steps, help=text)
    text = "temperature of the first step: low is cautious (%(default)s)"
    add("--temperature-start", metavar="T", type=number, default=default.temperature_start, help=text)
    text = "temperature of the last step (%(default)s)"
    add("--temperature-end", metavar="T", type=number, default=default.temperature_end, help=text)


def whole(low: int, high: int) -> Callable[[str], int]:
    """A converter of options: a whole number from ``low`` to ``high``."""

    def convert(text: str) -> int:
        with contextlib.suppress(ValueError):
            if low <= int(text) <= high:
                return int(text)
        raise argparse.ArgumentTypeError(f"expected a whole number from {low} to {high}, got {text[:40]!r}")

    return convert


def number(text: str) -> float:
    """A converter of options: a finite number; its range is the setting's own affair."""
    with contextlib.suppress(ValueError):
        if math.isfinite(float(text)):
            return float(text)
    raise argparse.ArgumentTypeError(f"expected a number, got {text[:40]!r}")


def sampler_config(options: argparse.Namespace) -> SamplerConfig:
    names = ("steps", "temperature_start", "temperature_end", "strength")
    return SamplerConfig(**{name: getattr(options, name) for name in names if hasattr(options, name)})


# -- commands ------------------------------------------------------------------------------------------------


def inpaint(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Redraw what the mask covers, once per seed; all results appear together at the end."""
    clock, config = Clock(), sampler_config(options)
    targets = numbered(options.output, options.seed, options.candidates)
    check_targets(list(targets.values()), options.overwrite)
    check_frames(options.frames, list(targets.values()), options.overwrite)
    with clock.measure("prepare"):
        picture = images.load_picture(options.image)
        hole = masks.load_mask(options.mask, picture.size)
        rehearse(picture, options.output)
        if options.frames:
            rehearse(picture, options.frames / "step-0000.png")
    model = load_model(options, clock)
    with clock.measure("prepare"):
        edges = {"grow": options.grow, "feather": options.feather, "mask_rule": options.mask_rule}
        prepared = Inpainter(model).prepare(picture, hole, **edges)
    abouts = {seed: settings(model, config, seed) | edges for seed in targets}
    with hidden_folder(options.frames) as hidden, progress(config, len(targets)) as bar:
        finals = {}
        for seed, about in abouts.items():
            keep = frame_saver(hidden, about, len(targets) > 1)
            with clock.measure("sample"):
                finals[seed] = last_frame(prepared.run(config, [seed]), bar, keep)
        with clock.measure("save"), all_or_nothing() as undo:
            outputs = [save(finals[s], targets[s], abouts[s], options.overwrite, undo) for s in targets]
            kept = publish(hidden, options.frames, undo) if hidden else 0
    report = base_report(options, model, picture, outputs, clock) | {
        "settings": vars(config) | edges,
        "seeds": list(targets),
        "image": options.image,
        "mask": {"path": options.mask, "pixels": int(prepared.mask.sum()), "box": vars(prepared.box)},
        "window": vars(prepared.window) | {"box": vars(prepared.window.box)},
        "tokens": {"redrawn": int(prepared.token_mask.sum()), "all": prepared.token_mask.numel()},
        "frames": {"folder": str(options.frames), "count": kept} if options.frames else None,
    }
    return report, summary(report)


def sample(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Draw whole pictures, each saved as soon as it is done."""
    clock, config = Clock(), sampler_config(options)
    targets = numbered(options.output, options.seed, options.count)
    check_targets(list(targets.values()), options.overwrite)
    picture = images.load_picture(np.zeros((MIN_SIDE, MIN_SIDE, 3), np.uint8))
    rehearse(picture, options.output)
    model = load_model(options, clock)
    outputs = []
    with progress(config, len(targets)) as bar:
        for seed, target in targets.items():
            with clock.measure("sample"):
                size = (options.width, options.height)
                frame = last_frame(generate(model, [seed], config, *size), bar)
            with clock.measure("save"), all_or_nothing() as undo:
                outputs.append(save(frame, target, settings(model, config, seed), options.overwrite, undo))
            picture = frame.prepared.picture
    report = base_report(options, model, picture, outputs, clock)
    report |= {"settings": dict(vars(config)), "seeds": list(targets)}
    return report, summary(report)


def rebuild(options: argparse.Namespace) -> tuple[Report, Lines]:
    """A picture through the tokenizer and back."""
    clock = Clock()
    check_targets([options.output], options.overwrite)
    with clock.measure("prepare"):
        picture = images.load_picture(options.image)
        rehearse(picture, options.output)
    model = load_model(options, clock)
    with clock.measure("reconstruct"):
        picture, result = reconstruct(model, picture)
    about = {"model": model.name, "hash": model.hash, "reconstruction": True}
    with clock.measure("save"), all_or_nothing() as undo:
        output = save_image(result, picture, options.output, about, options.overwrite, undo)
    report = base_report(options, model, picture, [output], clock) | {"image": options.image}
    return report, summary(report)


def list_models(options: argparse.Namespace) -> tuple[Report, Lines]:
    """The models in the box, a line each; a damaged one is listed as such."""
    known = {name: one_line(weights_folder() / name) for name in models()}
    lines = [f"{name}: {text}" for name, text in known.items()]
    return {"models": known}, lines or ["no model in the box: --model takes the folder of one"]


def one_line(folder: Path) -> str:
    """What a bundle is, from its config alone: its weights are not read."""
    try:
        parts = read_config(folder)["parts"]
        tokenizer = parts["tokenizer"]["config"]
        f = tokenizer["downsample_factor"]
        codes = f"{tokenizer['depth']} x {tokenizer['codebook_size']} codes"
        if "prior" not in parts:
            return f"tokenizer alone, {codes} a cell of {f} px"
        rows, columns = parts["prior"]["config"]["grid"]
        return f"{columns * f} x {rows * f} px, {columns} x {rows} cells of {codes}"
    except (ValueError, TypeError, KeyError, OSError) as error:
        return f"damaged: {error}"


def info(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Load a model, which checks it, and say what it is made of."""
    clock = Clock()
    folder, model = find(options.model), load_model(options, clock)
    parts = {}
    for name, part in model.config["parts"].items():
        files = {file: (folder / file).stat().st_size for file in part["files"]}
        numbers = sum(value.numel() for value in getattr(model, name).state_dict().values())
        parts[name] = part | {"parameters": numbers, "bytes": sum(files.values()), "files": files}
    report = {
        "name": model.name,
        "folder": str(folder),
        "hash": model.hash,
        "resolution": model.resolution,
        "downsample_factor": model.downsample_factor,
        "parts": parts,
        "provenance": model.config["provenance"],
        "seconds": clock.report(),
    }
    return report, info_lines(report)


def info_lines(report: Report) -> Lines:
    lines = [f"{report['name']} ({report['folder']}): {report['resolution']} px, hash {report['hash']}"]
    for name, part in report["parts"].items():
        size = f"{part['parameters'] / 1e6:.2f} M parameters, {part['bytes'] / 1e6:.2f} MB"
        lines.append(f"{name}: {part['kind']}, {size}, hash {part['hash'][:12]}")
        lines += [f"  {key}: {value}" for key, value in part["config"].items()]
        lines += [f"  {file}: {size} bytes" for file, size in part["files"].items()]
    return lines + [f"provenance: {json.dumps(report['provenance'], ensure_ascii=False)}"]


# -- sampling ------------------------------------------------------------------------------------------------


class Clock:
    """Seconds by name, added up."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def report(self) -> dict[str, float]:
        return {
            k: round(v, 4) for k, v in {**self.seconds, "total": time.perf_counter() - self.start}.items()
        }


def load_model(options: argparse.Namespace, clock: Clock) -> Model:
    with clock.measure("load"):
        return load(options.model, options.device)


def last_frame(frames: Iterator[Frame], bar: tqdm, keep: Callable[[Frame], None] | None = None) -> Frame:
    """Drain a run; each frame moves the bar and may be kept."""
    before, frame = bar.n, None
    for frame in frames:
        bar.update(before + frame.index - bar.n)
        if keep:
            keep(frame)
    assert frame is not None, "a run yields its start at least"
    bar.update(before + frame.total - bar.n)
    return frame


def progress(config: SamplerConfig, runs: int) -> tqdm:
    """A bar over all steps on stderr; nothing where that is no terminal."""
    return tqdm(total=config.steps * runs, unit="step", disable=None, leave=False, file=sys.stderr)


# -- files ---------------------------------------------------------------------------------------------------


def numbered(output: Path, seed: int, count: int) -> dict[int, Path]:
    """A file for each seed from ``seed`` on: OUT itself for one, else OUT with the seed in its name.

    Raises:
        ValueError: if the last seed is too large.
    """
    if seed + count - 1 > MAX_SEED:
        raise ValueError(
            f"expected seeds of at most {MAX_SEED}, got {seed + count - 1} for the last of {count}"
        )
    if count == 1:
        return {seed: output}
    return {s: output.with_name(f"{output.stem}-{s}{output.suffix}") for s in range(seed, seed + count)}


def check_targets(targets: list[Path], overwrite: bool) -> None:
    """Raises ValueError if one exists (unless ``overwrite``) or cannot be written."""
    for target in targets:
        if target.is_dir():
            raise ValueError(f"expected a name for the output, got the folder {str(target)!r}")
        if os.path.lexists(target) and not overwrite:
            raise ValueError(f"expected a new output, got {str(target)!r}, which exists: add --overwrite")
        if os.path.lexists(target) and not target.is_file():
            raise ValueError(f"expected a name for the output, got {str(target)!r}, which is no regular file")
        check_folder(target.parent)


def check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ValueError(f"expected an existing folder for the output, got {str(folder)!r}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"expected a folder that may be written to, got {str(folder)!r}")


def check_frames(folder: Path | None, targets: list[Path], overwrite: bool) -> None:
    """Raises ValueError unless the folder is new, empty, or may be written over."""
    if folder is None:
        return
    if os.path.realpath(folder) in [os.path.realpath(target) for target in targets]:
        raise ValueError(f"expected a folder for the frames, got the output's name {str(folder)!r}")
    if not os.path.lexists(folder):
        check_folder(folder.parent)
        return
    if not folder.is_dir():
        raise ValueError(f"expected a folder for the frames, got {str(folder)!r}, which is none")
    check_folder(folder)
    if any(folder.iterdir()) and not overwrite:
        raise ValueError(
            f"expected a new or empty folder for the frames, got {str(folder)!r}: add --overwrite"
        )


def rehearse(picture: Picture, target: Path) -> None:
    """Save a corner of the picture elsewhere: a format that does not hold it is known before the work.

    Raises:
        ValueError: if the target's extension is unknown, or its format holds no such picture.
    """
    corner = picture.image.crop((0, 0, MIN_SIDE, MIN_SIDE))
    with tempfile.TemporaryDirectory(prefix="sundae-") as folder:
        try:
            images.save_picture(corner, Path(folder) / target.name, picture)
        except ValueError as error:
            raise ValueError(f"{target.name}: {error}") from None


@contextlib.contextmanager
def hidden_folder(folder: Path | None) -> Iterator[Path | None]:
    """Where frames wait until all is done: inside or beside ``folder``, so on the same disk; gone at the end."""
    if folder is None:
        yield None
        return
    place = folder if folder.is_dir() else folder.parent
    with tempfile.TemporaryDirectory(prefix=".sundae-", dir=place) as hidden:
        yield Path(hidden)


def frame_saver(folder: Path | None, about: Report, several: bool) -> Callable[[Frame], None] | None:
    """A function that saves frames as ``step-0000.png`` ..., with the seed before it if there are several."""
    if folder is None:
        return None
    stem = f"seed-{about['seed']}-step" if several else "step"

    def keep(frame: Frame) -> None:
        path = folder / f"{stem}-{frame.index:04}.png"
        images.save_picture(frame.image(), path, frame.prepared.picture, about | {"step": frame.index})

    return keep


@contextlib.contextmanager
def all_or_nothing() -> Iterator[contextlib.ExitStack]:
    """A stack to put the undoing of each step on: done if a later one fails, Ctrl-C included."""
    with contextlib.ExitStack() as undo:
        yield undo
        undo.pop_all()


def publish(hidden: Path, folder: Path, undo: contextlib.ExitStack) -> int:
    """Move the finished frames to where they were asked for; how many they are.

    Frames of an earlier run that lie there (only with ``--overwrite``) go, so that the folder is one film.
    """
    if not folder.is_dir():
        undo.callback(lambda: folder.is_dir() and folder.rmdir())
        folder.mkdir()
    names = [file.name for file in hidden.iterdir()]
    for name in names:
        if not (folder / name).exists():
            undo.callback((folder / name).unlink, missing_ok=True)
        os.replace(hidden / name, folder / name)
    for old in folder.iterdir():
        if FRAME_NAME.fullmatch(old.name) and old.name not in names:
            old.unlink()
    return len(names)


def save(frame: Frame, target: Path, about: Report, overwrite: bool, undo: contextlib.ExitStack) -> Report:
    """Save the last frame of a run."""
    saved = save_image(frame.image(), frame.prepared.picture, target, about, overwrite, undo)
    return saved | {"seed": about["seed"], "steps": frame.index, "converged": bool(frame.converged.all())}


def save_image(
    image: Any, picture: Picture, target: Path, about: Report, overwrite: bool, undo: contextlib.ExitStack
) -> Report:
    """Save one picture; ``undo`` takes it away again, unless it replaced another."""
    if not os.path.lexists(target):
        undo.callback(target.unlink, missing_ok=True)
    notes = images.save_picture(image, target, picture, about, overwrite)
    size = target.stat().st_size
    return {"path": str(target), "sha256": file_hash(target), "bytes": size, "notes": notes}


# -- reports -------------------------------------------------------------------------------------------------


def base_report(
    options: argparse.Namespace, model: Model, picture: Picture, outputs: list[Report], clock: Clock
) -> Report:
    notes = [*picture.notes, *(note for output in outputs for note in output.pop("notes"))]
    return {
        "command": options.command,
        "version": __version__,
        "model": {"name": model.name, "hash": model.hash, "resolution": model.resolution},
        "device": str(model.device),
        "width": picture.size[0],
        "height": picture.size[1],
        "mode": picture.image.mode,
        "outputs": outputs,
        "notes": list(dict.fromkeys(notes)),
        "seconds": clock.report(),
    }


def summary(report: Report) -> Lines:
    """A report for people."""
    lines = []
    for output in report["outputs"]:
        line = f"{output['path']}: {report['width']} x {report['height']} px"
        if "seed" in output:
            line += f", seed {output['seed']}, {output['steps']} of {report['settings']['steps']} steps"
        lines.append(line)
    if report.get("frames"):
        lines.append(f"{report['frames']['folder']}: {report['frames']['count']} frames")
    model, seconds = report["model"], report["seconds"]
    spent = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if name != "total")
    lines.append(f"{model['name']} ({model['hash']}) in {seconds['total']:.1f} s: {spent}")
    return lines + [f"note: {note}" for note in report["notes"]]


if __name__ == "__main__":
    sys.exit(main())
