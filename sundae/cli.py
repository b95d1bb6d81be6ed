"""The command line: redraw a region, draw whole pictures, look at models.

    python -m sundae inpaint face.png --mask mask.png -o new.png --seed 7
    python -m sundae sample -o face.png --count 4
    python -m sundae extend face.png -o wider.png --left 300
    python -m sundae strip face.png -o strip.png
    python -m sundae bits face.png --map surprise.png
    python -m sundae reconstruct face.png -o back.png
    python -m sundae models
    python -m sundae info illustrated-1024
    python -m sundae push runs/my-model me/my-model
    python -m sundae convert last.ckpt models/vqgan

Whatever the caller can put right ends with exit code 2 and one line, before the work starts wherever that is
possible; Ctrl-C ends with 130, SIGTERM with 143, and neither leaves half of a result behind.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sundae import image as images
from sundae import masks
from sundae.bundles import DEFAULT_MODEL, Model, load, locate, models, weights_folder
from sundae.checkpoint import PRIORS, TOKENIZERS, part_files, read_part, read_parts
from sundae.convert.detect import FORMATS
from sundae.films import film, film_format
from sundae.fit import model_size
from sundae.image import MAX_SIDE, MIN_SIDE, Picture
from sundae.measure import bits, surprise_map
from sundae.outputs import (
    Report,
    all_or_nothing,
    check_films,
    check_frames,
    check_targets,
    frame_saver,
    hidden_folder,
    numbered,
    publish,
    rehearse,
    save,
    save_film,
    save_image,
)
from sundae.panels import MAX_PANELS, PANELS, SIDE, side_by_side, strip
from sundae.pipeline import DEFAULT_FEATHER, Frame, Inpainter, blank, extend, prior_of, reconstruct
from sundae.priors.contract import PASSES
from sundae.sampler import MAX_SEED, MAX_STEPS, MIN_STRIDE, SamplerConfig
from sundae.stopping import Stopped, interruptible
from sundae.version import __version__

MAX_CANDIDATES = 16
MAX_COUNT = 1000
MAX_BATCH = 1024
MAX_PASSES = 1000
MAX_TOP_K = 1_000_000  # above any codebook
MAX_CLASS = 1_000_000  # above any prior's

SIDES = ("left", "right", "top", "bottom")
PICTURE = "picture: PNG, JPEG, WebP, TIFF, BMP or GIF"
NAMES = "name of a model, a bundle's folder, or owner/name[@revision] on the Hugging Face Hub"

Lines = list[str]  # what is printed without it


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0, 2 on anything the caller can put right, 130 after Ctrl-C, 143 after SIGTERM.
    """
    try:
        with interruptible():
            options = parser().parse_args(argv)
            report, lines = options.run(options)
            text = json.dumps(report) if options.json else "\n".join(printable(line) for line in lines)
            print(text, flush=True)
        return 0
    except SystemExit as stop:  # --help and --version
        return int(stop.code or 0)
    except KeyboardInterrupt as stop:
        complain("stopped")
        return stop.code if isinstance(stop, Stopped) else 130
    except BrokenPipeError:  # whoever read the output has gone; Python would complain once more at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        complain(f"error: {printable(str(error)) or type(error).__name__}")
        return 2
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        complain("error: expected more free memory for a picture and a model of this size, got too little")
        return 2


def out_of_memory(error: Exception) -> bool:
    """Whether numpy, torch or a GPU found too little memory; on a CPU torch says so in words alone."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate" in str(error)


def complain(text: str) -> None:
    """One line on stderr, if there is anybody left to read it."""
    with contextlib.suppress(OSError):
        print(f"sundae: {text}", file=sys.stderr, flush=True)


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
    add_extend(commands)
    add_reconstruct(commands)
    add_strip(commands)
    add_bits(commands)
    add_command(commands, list_models, "models", "List the models in the box.")
    add_info(commands)
    add_push(commands)
    add_convert(commands)
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
    add("image", metavar="IMAGE", help=PICTURE)
    add("--mask", required=True, help="picture of the same size: white = repaint, black = keep")
    add_output(command, "; with several candidates their seeds are added: out-7.png, out-8.png")
    add_sampler(command)
    candidates = whole(1, MAX_CANDIDATES)
    add("--candidates", metavar="K", type=candidates, default=1, help="results, of the seeds S, S+1 ... (1)")
    text = "share of the hidden tokens that start as noise; below 1 the result varies what is there (1.0)"
    add("--strength", metavar="X", type=number, help=text)
    add_class(command)
    text = "widen the mask; a negative number shrinks it (0)"
    add("--grow", metavar="PX", type=whole(-radius, radius), default=0, help=text)
    text = "fade-in of the new pixels, inside the mask (%(default)s)"
    add("--feather", metavar="PX", type=whole(0, radius), default=DEFAULT_FEATHER, help=text)
    text = "rewrite a token when any, or all, of its pixels are white (any)"
    add("--mask-rule", choices=("any", "all"), default="any", help=text)
    add("--frames", metavar="DIR", type=Path, help="new folder for every step as a PNG")
    text = "film of the steps to write, .webp, .gif or .mp4 (with ffmpeg); named by seeds as the output is"
    add("--film", metavar="FILM", type=Path, help=text)
    add("--film-of", choices=("picture", "region"), default="picture", help="what the film shows (picture)")


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
    add_class(command)
    add_canvas(command)


def add_extend(commands: Any) -> None:
    text = "Add to a picture on any side what could be there; its own pixels stay as they are."
    command = add_command(commands, extend_picture, "extend", text)
    add, side = command.add_argument, whole(0, MAX_SIDE)
    add("image", metavar="IMAGE", help=PICTURE)
    add_output(command, "; with several candidates their seeds are added: out-7.png, out-8.png")
    for name in SIDES:
        add(f"--{name}", metavar="PX", type=side, default=0, help=f"to add at the {name} (0)")
    add_sampler(command)
    add_canvas(command)
    candidates = whole(1, MAX_CANDIDATES)
    add("--candidates", metavar="K", type=candidates, default=1, help="results, of the seeds S, S+1 ... (1)")
    text = "fade-in of the new pixels, from the picture's edge (%(default)s)"
    add("--feather", metavar="PX", type=whole(0, masks.MAX_RADIUS), default=DEFAULT_FEATHER, help=text)


def add_strip(commands: Any) -> None:
    text = "Keep the first tokens of a picture, from all to none, and draw the rest: one strip of panels."
    command = add_command(commands, draw_strip, "strip", text)
    command.add_argument("image", metavar="IMAGE", help=PICTURE)
    add_output(command)
    add_sampler(command)
    text = "panels, with fewer tokens kept from each to the next (%(default)s)"
    command.add_argument("--panels", metavar="N", type=whole(2, MAX_PANELS), default=PANELS, help=text)
    text = "longer side of a panel (%(default)s)"
    command.add_argument("--side", metavar="PX", type=whole(MIN_SIDE, MAX_SIDE), default=SIDE, help=text)


def add_bits(commands: Any) -> None:
    text = "How likely pictures are to a model's prior: bits per token, and per number of a picture's pixels."
    command = add_command(commands, count_bits, "bits", text)
    add = command.add_argument
    add("pictures", metavar="PICTURE", type=Path, help="picture, or a folder of them")
    add("--map", metavar="OUT", type=Path, help="of one picture: where it surprises, dark to light, to write")
    add("--overwrite", action="store_true", help="replace what exists")
    add_model(command)
    add("--seed", metavar="S", type=whole(0, MAX_SEED), default=0, help="of the noise in a bound (0)")
    text = "how often the prior is asked for a bound: more is tighter (%(default)s)"
    add("--passes", metavar="N", type=whole(1, MAX_PASSES), default=PASSES, help=text)


def add_canvas(command: Parser) -> None:
    """Options of pictures larger than the prior's own."""
    add = command.add_argument
    usual = SamplerConfig()
    text = f"for pictures larger than the model's: from window to window, {MIN_STRIDE} to 1 of one ({usual.stride})"
    add("--stride", metavar="X", type=number, help=text)
    text = f"how the weight of a window falls to its borders, 0 for not at all ({usual.falloff})"
    add("--falloff", metavar="P", type=number, help=text)
    text = "windows that lie somewhere else in every step"
    add("--random-windows", action="store_true", default=None, help=text)
    text = "windows that pass through the prior together (%(default)s)"
    add("--batch", metavar="N", type=whole(1, MAX_BATCH), default=1, help=text)


def add_reconstruct(commands: Any) -> None:
    text = "Encode a picture to tokens and decode it again: what the model can see of it."
    command = add_command(commands, rebuild, "reconstruct", text)
    command.add_argument("image", metavar="IMAGE", help=PICTURE)
    add_output(command)
    add_model(command)


def add_info(commands: Any) -> None:
    command = add_command(commands, info, "info", "Check a model and say what it is made of.")
    command.add_argument("model", metavar="BUNDLE", help=NAMES)
    command.set_defaults(device="cpu")


def add_push(commands: Any) -> None:
    text = "Upload a model to the Hugging Face Hub, with the login of `hf auth login` or HF_TOKEN."
    command = add_command(commands, push, "push", text)
    command.add_argument("model", metavar="BUNDLE", help=NAMES)
    text = "owner/name or owner/name@branch; made if it is not there"
    command.add_argument("repository", metavar="REPOSITORY", help=text)
    command.add_argument("--private", action="store_true", help="if it is made, only its owner sees it")
    text = "message of the commit (%(default)s)"
    command.add_argument("--message", metavar="TEXT", default="Upload a bundle", help=text)


def add_convert(commands: Any) -> None:
    text = "Make a bundle of another project's checkpoint: a first stage (VQ-GAN), or the authors' prior."
    command = add_command(commands, convert, "convert", text)
    add = command.add_argument
    add("source", metavar="SRC", type=Path, help="file of weights, or a folder of diffusers")
    add("folder", metavar="DST", type=Path, help="new folder for the bundle")
    text = "its settings, as YAML, TOML or JSON (SRC with the extension .yaml, if that is there)"
    add("--config", metavar="FILE", type=Path, help=text)
    add("--format", metavar="NAME", help=f"{', '.join(FORMATS)} (found out)")
    add("--tokenizer", metavar="BUNDLE", help="for a prior: the model whose tokens it draws")


def add_output(command: Parser, note: str = "") -> None:
    text = f"picture to write; its extension is its format{note}"
    command.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help=text)
    command.add_argument("--overwrite", action="store_true", help="replace what exists")


def add_model(command: Parser) -> None:
    command.add_argument("--model", metavar="M", default=DEFAULT_MODEL, help=f"{NAMES} (%(default)s)")
    command.add_argument("--device", metavar="D", default="cpu", help="torch device, such as cuda (cpu)")


def add_class(command: Parser) -> None:
    text = "class to draw, from 0, where the prior was trained with classes (none is asked for)"
    command.add_argument("--class", dest="label", metavar="C", type=whole(0, MAX_CLASS), help=text)


def add_sampler(command: Parser) -> None:
    add_model(command)
    add, sundae = command.add_argument, SamplerConfig()
    add("--seed", metavar="S", type=whole(0, MAX_SEED), default=0, help="same seed, same picture (0)")
    text = f"at most this many; a result that has settled stops early ({sundae.steps}, or as suits the prior)"
    add("--steps", metavar="N", type=whole(1, MAX_STEPS), help=text)
    text = (
        f"temperature of the first step: low is cautious ({sundae.temperature_start}, or as suits the prior)"
    )
    add("--temperature-start", metavar="T", type=number, help=text)
    text = f"temperature of the last step ({sundae.temperature_end}, or as suits the prior)"
    add("--temperature-end", metavar="T", type=number, help=text)
    text = "draw from the K most likely codes, 0 for all (as suits the prior)"
    add("--top-k", metavar="K", type=whole(0, MAX_TOP_K), help=text)
    text = "draw from the fewest likely codes that together reach this chance (as suits the prior)"
    add("--top-p", metavar="P", type=number, help=text)


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


def about_class(options: argparse.Namespace) -> Report:
    """The class that was asked for, as reports and pictures tell it; nothing without one."""
    return {} if options.label is None else {"class": options.label}


def sampler_config(options: argparse.Namespace, defaults: SamplerConfig) -> SamplerConfig:
    """The settings that were given, in the place of those that suit the prior."""
    names = ("steps", "temperature_start", "temperature_end", "strength", "top_k", "top_p")
    names += ("stride", "falloff", "random_windows")
    asked = {name: getattr(options, name, None) for name in names}
    return dataclasses.replace(
        defaults, **{name: value for name, value in asked.items() if value is not None}
    )


# -- commands ------------------------------------------------------------------------------------------------


def inpaint(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Redraw what the mask covers, once per seed; all results appear together at the end."""
    clock = Clock()
    sampler_config(options, SamplerConfig())  # bad ones are known before the work
    targets = numbered(options.output, options.seed, options.candidates)
    check_targets(list(targets.values()), options.overwrite)
    inputs = [Path(options.image), Path(options.mask)]
    check_frames(options.frames, list(targets.values()), inputs, options.overwrite)
    reels = numbered(options.film, options.seed, options.candidates) if options.film else {}
    check_films(list(reels.values()), list(targets.values()), options.overwrite)
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
    config = sampler_config(options, prepared.defaults)
    abouts = {seed: prepared.settings(config, seed) | about_class(options) for seed in targets}
    with hidden_folder(options.frames) as hidden, progress(config, len(targets)) as bar:
        finals, films = {}, {}
        for seed, about in abouts.items():
            keep, reel = frame_saver(hidden, about, len(targets) > 1), Reel()
            with clock.measure("sample"):
                frames = prepared.run(config, [seed], labels=options.label)
                finals[seed] = last_frame(frames, bar, keep, reel if reels else None)
            if reels:
                with clock.measure("film"):
                    form = film_format(reels[seed])
                    films[seed] = film(reel.frames, form, region=options.film_of == "region")
        with clock.measure("save"), all_or_nothing() as undo:
            shown = [save_film(films[seed], reels[seed], undo) for seed in films]
            outputs = [save(finals[s], targets[s], abouts[s], options.overwrite, undo) for s in targets]
            kept = publish(hidden, options.frames, undo) if hidden else 0
    report = base_report(options, model, picture, outputs, clock) | {
        "settings": vars(config) | edges | about_class(options),
        "seeds": list(targets),
        "image": options.image,
        "mask": {"path": options.mask, "pixels": int(prepared.mask.sum()), "box": vars(prepared.box)},
        "window": vars(prepared.window) | {"box": vars(prepared.window.box)},
        "tokens": {"redrawn": int(prepared.token_mask.sum()), "all": prepared.token_mask.numel()},
        "frames": {"folder": str(options.frames), "count": kept} if options.frames else None,
        "films": shown,
    }
    return report, summary(report)


def sample(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Draw whole pictures, each saved as soon as it is done."""
    clock = Clock()
    sampler_config(options, SamplerConfig())  # bad ones are known before the work
    targets = numbered(options.output, options.seed, options.count)
    check_targets(list(targets.values()), options.overwrite)
    picture = images.load_picture(np.zeros((MIN_SIDE, MIN_SIDE, 3), np.uint8))
    rehearse(picture, options.output)
    model = load_model(options, clock)
    with clock.measure("prepare"):
        prepared = blank(model, options.width, options.height)
    outputs, config = [], sampler_config(options, prepared.defaults)
    with progress(config, len(targets)) as bar:
        for seed, target in targets.items():
            with clock.measure("sample"):
                frames = prepared.run(config, [seed], batch_size=options.batch, labels=options.label)
                frame = last_frame(frames, bar)
            with clock.measure("save"), all_or_nothing() as undo:
                about = prepared.settings(config, seed) | about_class(options)
                outputs.append(save(frame, target, about, options.overwrite, undo))
    report = base_report(options, model, prepared.picture, outputs, clock)
    report |= {"settings": vars(config) | about_class(options), "seeds": list(targets)}
    return report, summary(report)


def extend_picture(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Draw margins around a picture, once per seed; all results appear together at the end."""
    clock = Clock()
    sampler_config(options, SamplerConfig())  # bad ones are known before the work
    margins = {name: getattr(options, name) for name in SIDES}
    if not any(margins.values()):
        raise ValueError("expected --left, --right, --top or --bottom with at least one px, got none")
    targets = numbered(options.output, options.seed, options.candidates)
    check_targets(list(targets.values()), options.overwrite)
    with clock.measure("prepare"):
        picture = images.load_picture(options.image)
        rehearse(picture, options.output)
    model = load_model(options, clock)
    with clock.measure("prepare"):
        prepared = extend(model, picture, **margins, feather=options.feather)
    finals, config = {}, sampler_config(options, prepared.defaults)
    with progress(config, len(targets)) as bar:
        for seed in targets:
            with clock.measure("sample"):
                finals[seed] = last_frame(prepared.run(config, [seed], batch_size=options.batch), bar)
    with clock.measure("save"), all_or_nothing() as undo:
        abouts = {seed: prepared.settings(config, seed) | {"extended": margins} for seed in targets}
        outputs = [save(finals[s], targets[s], abouts[s], options.overwrite, undo) for s in targets]
    report = base_report(options, model, prepared.picture, outputs, clock) | {
        "settings": vars(config) | {"feather": options.feather},
        "seeds": list(targets),
        "image": options.image,
        "extended": margins,
        "window": vars(prepared.window) | {"box": vars(prepared.window.box)},
        "tokens": {"drawn": int(prepared.token_mask.sum()), "all": prepared.token_mask.numel()},
    }
    return report, summary(report)


def draw_strip(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Panels with fewer and fewer tokens kept, in one picture."""
    clock = Clock()
    sampler_config(options, SamplerConfig())  # bad ones are known before the work
    check_targets([options.output], options.overwrite)
    with clock.measure("prepare"):
        picture = images.load_picture(options.image)
        rehearse(images.load_picture(np.zeros((MIN_SIDE, MIN_SIDE, 3), np.uint8)), options.output)
    model = load_model(options, clock)
    cells = math.prod(model_size(model, picture.size)) // model.downsample_factor**2
    config = sampler_config(options, prior_of(model).settings_for(cells))
    drawn = strip(model, picture, options.panels, options.seed, config)
    quiet = None if sys.stderr else True
    with clock.measure("sample"):
        panels = list(
            tqdm(drawn, total=options.panels, unit="panel", disable=quiet, leave=False, file=sys.stderr)
        )
    row = images.load_picture(side_by_side([panel.image for panel in panels], options.side))
    kept = [panel.kept for panel in panels]
    about = {"model": model.name, "hash": model.hash, "seed": options.seed, "version": __version__}
    with clock.measure("save"), all_or_nothing() as undo:
        about |= {"strip": kept, "tokens": panels[0].cells}
        output = save_image(row.image, row, options.output, about, options.overwrite, undo)
    report = base_report(options, model, row, [output], clock)
    report |= {"image": options.image, "kept": kept, "tokens": panels[0].cells, "seed": options.seed}
    numbers = ", ".join(map(str, kept))
    return report, [*summary(report), f"first {numbers} of {panels[0].cells} tokens kept"]


def count_bits(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Bits of each picture, their means, and a map."""
    clock = Clock()
    files = images.picture_files(options.pictures)
    if options.map and options.pictures.is_dir():
        raise ValueError(f"expected one picture for --map, got the folder {str(options.pictures)!r}")
    loaded = {
        file: images.load_picture(file) for file in files[:1]
    }  # a single bad one is known before the work
    grey = images.load_picture(np.zeros((MIN_SIDE, MIN_SIDE, 3), np.uint8))
    if options.map:
        check_targets([options.map], options.overwrite)
        rehearse(grey, options.map)
    model = load_model(options, clock)
    counted, quiet = [], None if sys.stderr else True
    for file in tqdm(files, unit="picture", disable=quiet, leave=False, file=sys.stderr):
        with clock.measure("measure"):
            picture = loaded.get(file) or images.load_picture(file)
            found = bits(model, picture, options.seed, options.passes)
        counted.append({"path": str(file)} | dataclasses.asdict(found))
    outputs, scale = [], None
    if options.map:
        with clock.measure("map"):
            drawn = surprise_map(model, loaded[files[0]], options.seed, options.passes)
        picture, scale = images.load_picture(drawn.image), {"low": drawn.low, "high": drawn.high}
        with clock.measure("save"), all_or_nothing() as undo:
            about = {"model": model.name, "hash": model.hash, "bits": scale}
            outputs = [save_image(drawn.image, picture, options.map, about, options.overwrite, undo)]
    report = {
        "command": "bits",
        "version": __version__,
        "model": {"name": model.name, "hash": model.hash, "resolution": model.resolution},
        "exact": prior_of(model).exact,
        "pictures": counted,
        **{name: sum(p[name] for p in counted) / len(counted) for name in ("per_token", "per_dimension")},
        "map": outputs[0] | scale if scale else None,
        "seconds": clock.report(),
    }
    return report, bits_lines(report)


def bits_lines(report: Report) -> Lines:
    kind = "" if report["exact"] else "at most "
    rows = [*report["pictures"]]
    if len(rows) > 1:
        rows.append(report | {"path": f"mean of {len(rows)} pictures"})
    lines = [
        f"{row['path']}: {kind}{row['per_token']:.4f} bits per token, {row['per_dimension']:.6f} per pixel-dimension"
        for row in rows
    ]
    if where := report["map"]:
        lines.append(
            f"{where['path']}: {where['low']:.2f} (dark) to {where['high']:.2f} (light) bits per token"
        )
    return lines


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
        tokenizer = read_part(folder, "tokenizer", TOKENIZERS)[1]
        f, codes = tokenizer.downsample_factor, f"{tokenizer.depth} x {tokenizer.codebook_size} codes"
        if "prior" not in read_parts(folder):
            return f"tokenizer alone, {codes} a cell of {f} px"
        rows, columns = read_part(folder, "prior", PRIORS)[1].grid
        return f"{columns * f} x {rows * f} px, {columns} x {rows} cells of {codes}"
    except (ValueError, OSError) as error:
        return f"damaged: {error}"


def info(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Load a model, which checks it, and say what it is made of."""
    clock = Clock()
    (_, folder), model = locate(options.model), load_model(options, clock)
    parts = {}
    for name, part in model.config["parts"].items():
        files = {file: path.stat().st_size for file, path in part_files(folder, part).items()}
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


def push(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Upload a model to the Hub."""
    from huggingface_hub.utils import disable_progress_bars  # here: the Hub's library is slow to import

    from sundae.publish import push_to_hub

    if not (sys.stderr and sys.stderr.isatty()):
        disable_progress_bars()
    clock = Clock()
    with clock.measure("push"):
        pushed = push_to_hub(options.model, options.repository, options.private, options.message)
    report = {"command": "push", "version": __version__, **vars(pushed), "seconds": clock.report()}
    return report, [f"{pushed.repository}: {len(pushed.files)} files, {pushed.url}"]


def convert(options: argparse.Namespace) -> tuple[Report, Lines]:
    """Make a bundle of a foreign checkpoint."""
    from sundae.convert import writing  # here: it needs what writes model cards

    clock = Clock()
    with clock.measure("convert"):
        made = writing.convert(
            options.source, options.folder, options.config, options.format, options.tokenizer
        )
    report = {
        "command": "convert",
        "version": __version__,
        "folder": str(options.folder),
        "part": made.part,
        "provenance": made.provenance,
        "seconds": clock.report(),
    }
    source = made.provenance["source"]
    return report, [f"{options.folder}: a {made.part}, from {source['file']} ({source['about']})"]


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


class Reel:
    """Keeps the frames of a run without what they have decoded: a film decodes those that it shows."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    def __call__(self, frame: Frame) -> None:
        self.frames.append(Frame(frame.step, frame.prepared))


def last_frame(frames: Iterator[Frame], bar: tqdm, *keepers: Callable[[Frame], None] | None) -> Frame:
    """Drain a run; each frame moves the bar and may be kept."""
    before, frame = bar.n, None
    for frame in frames:
        bar.update(before + frame.index - bar.n)
        for keep in filter(None, keepers):
            keep(frame)
    assert frame is not None, "a run yields its start at least"
    bar.update(before + frame.total - bar.n)
    return frame


def progress(config: SamplerConfig, runs: int) -> tqdm:
    """A bar over all steps on stderr; nothing where that is no terminal."""
    nobody = None if sys.stderr else True  # None: tqdm finds out whether it is a terminal
    return tqdm(total=config.steps * runs, unit="step", disable=nobody, leave=False, file=sys.stderr)


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
    lines += [f"{shown['path']}: {shown['bytes'] / 1e6:.2f} MB" for shown in report.get("films", [])]
    model, seconds = report["model"], report["seconds"]
    spent = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if name != "total")
    lines.append(f"{model['name']} ({model['hash']}) in {seconds['total']:.1f} s: {spent}")
    return lines + [f"note: {note}" for note in report["notes"]]
