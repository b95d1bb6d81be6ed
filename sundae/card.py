"""The model card of a bundle: its README.md, written from what its config knows, and pictures that it draws."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

from PIL import Image

from sundae.bundles import Model
from sundae.pipeline import generate

PICTURES = "samples.webp"
SAMPLES = 4
SAMPLE_SIDE = 256  # px at most
# Licences that the Hub knows by name; any other is named in full.
LICENCES = (
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-4.0"),
    *("openrail", "openrail++", "creativeml-openrail-m", "bigscience-openrail-m"),
)  # fmt: skip
INTENDED_USE = "To redraw regions of pictures like those it was trained on, and to study the method."
LIMITS = (
    "It knows what its data shows and nothing else: on other pictures it paints something of its data's kind, or "
    "smears. It makes pictures up; what it paints under a mask is no evidence of what was there."
)
PRIORS = {
    "hourglass": "a step-unrolled denoising autoencoder (SUNDAE)",
    "authorshourglass": "a step-unrolled denoising autoencoder (SUNDAE) as its authors wrote it",
    "absorbing": "an absorbing diffusion",
    "autoregressive": "an autoregressive transformer",
}
ELSEWHERE = ("data", "licence", "metrics", "intended_use", "limits")  # have a section of their own


def front_matter(model: Model) -> str:
    """The YAML block by which the Hub files a model."""
    licence = model.config["provenance"].get("licence")
    lines = ["library_name: sundae", "pipeline_tag: image-to-image"]
    if isinstance(licence, str) and licence.lower() in LICENCES:
        lines.append(f"license: {licence.lower()}")
    elif licence:
        lines += ["license: other", f"license_name: {json.dumps(in_words(licence))}"]
    tags = ["inpainting", "sundae", "vq-gan", "discrete-diffusion"]
    return "\n".join(["---", *lines, "tags:", *(f"- {tag}" for tag in tags), "---", "", ""])


def model_card(model: Model, address: str, pictures: bool) -> str:
    """The whole card as Markdown.

    Args:
        model: its config's provenance may hold ``data``, ``licence``, ``metrics``, ``intended_use``, ``limits``;
            whatever else it holds is told under Training.
        address: what ``sundae.load`` takes to load it.
        pictures: whether :func:`draw_samples` lies beside the card.
    """
    known = model.config["provenance"]
    title = address.partition("@")[0].rpartition("/")[2]
    sections = {
        "Use": f'```python\nimport sundae\n\nmodel = sundae.load("{address}")\n```',
        "Data": in_words(known.get("data")) or "The bundle does not say what it was trained on.",
        "Training": table("fact", {k: v for k, v in known.items() if k not in ELSEWHERE}),
        "Numbers": table("measure", known.get("metrics")),
        "Intended use": in_words(known.get("intended_use")) or INTENDED_USE,
        "Limits": in_words(known.get("limits")) or LIMITS,
        "Licence": in_words(known.get("licence")) or "Not stated: ask whoever gave you the bundle.",
    }
    body = "\n\n".join(f"## {name}\n\n{text}" for name, text in sections.items())
    return f"{front_matter(model)}# {title}\n\n{summary(model, pictures)}\n\n{body}\n"


def summary(model: Model, pictures: bool) -> str:
    """What it is, what it is made of, and how it draws."""
    f, book = model.downsample_factor, model.tokenizer.config
    codes = f"{f} × {f} px to {book.depth} out of {book.codebook_size} codes"
    what = f"A tokenizer of pictures, {codes}."
    if model.prior:
        rows, columns = model.prior.config.grid
        kind = model.config["parts"]["prior"]["kind"]
        what = (
            f"Redraws regions of pictures, best at {columns * f} × {rows * f} px: a tokenizer, {codes}, and a prior "
            f"over its tokens, {PRIORS.get(kind, kind)}, that draws the hidden ones."
        )
    lines = [what, "", "| part | kind | parameters | weights |", "|---|---|---|---|"]
    for name, part in model.config["parts"].items():
        count = sum(value.numel() for value in getattr(model, name).state_dict().values())
        lines.append(f"| {name} | {part['kind']} | {count / 1e6:.2f} M | `{part['hash'][:12]}` |")
    if pictures:
        lines += ["", f"![{SAMPLES} pictures drawn from nothing, seeds 0 to {SAMPLES - 1}]({PICTURES})"]
    return "\n".join(lines)


def table(title: str, values: Any) -> str:
    """A Markdown table of nested values, a row for each leaf."""
    rows = [f"| {name} | {text} |" for name, text in leaves(values)]
    return "\n".join([f"| {title} | value |", "|---|---|", *rows]) if rows else "Not recorded."


def leaves(values: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from leaves(value, f"{name}, {in_words(key)}" if name else in_words(key))
    elif values is not None:
        yield name or "value", in_words(values)


def in_words(value: Any) -> str:
    """A JSON value as one line of Markdown that can stand in a table; nothing for None."""
    if isinstance(value, list):
        return ", ".join(in_words(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{in_words(key)}: {in_words(item)}" for key, item in value.items())
    return "" if value is None else " ".join(str(value).split()).replace("|", "\\|")


def draw_samples(model: Model) -> bytes:
    """A WebP of whole pictures side by side, drawn from nothing with the default settings.

    Raises:
        ValueError: if the model has no prior.
    """
    pictures = []
    for seed in range(SAMPLES):
        *_, last = generate(model, seed)
        picture = last.image()
        picture.thumbnail((SAMPLE_SIDE, SAMPLE_SIDE))
        pictures.append(picture)
    width, height = pictures[0].size
    strip = Image.new("RGB", (SAMPLES * width, height))
    for i, picture in enumerate(pictures):
        strip.paste(picture, (i * width, 0))
    buffer = io.BytesIO()
    strip.save(buffer, "WEBP", quality=90)
    return buffer.getvalue()
