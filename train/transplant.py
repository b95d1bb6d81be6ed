"""Give a trained prior the codes of another tokenizer: ``python train/transplant.py --prior BUNDLE --tokenizer BUNDLE
--data FOLDER --out DIR``.

What a prior knows of faces lies in its trunk; what its codes mean lies in its embeddings. Pictures that both tokenizers
encode say how the new codes translate: the embedding of each is fitted so that a cell's new codes add up to what its
old ones did (least squares). Its classifiers start from the new codebooks. DIR is then a better place to begin than
nothing: ``python train/train_prior.py --start_from DIR``.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

if not __package__:  # run as a file: look for packages in the repository, not in this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from torch import Tensor
from tqdm import tqdm

from sundae.bundles import Model, load
from sundae.checkpoint import load_tokenizer, save_bundle
from sundae.hourglass import Hourglass
from sundae.tokenizer import PictureTokenizer
from train import settings
from train.data import is_here, open_source, sound_picture, split, to_tensor

SWEEPS = 10  # over the books of a cell's codes; each is fitted to what the others leave
RIDGE = 4.0  # cells at zero that every code also has, so that one seen twice is not believed


@dataclass(frozen=True)
class TransplantSettings:
    """What to take, from where, and to where."""

    out: str  # the new bundle's folder
    tokenizer: str  # bundle whose tokenizer the prior is to work with
    prior: str = "illustrated-1024"  # bundle with a SUNDAE prior and the tokenizer it was trained on
    data: str = "portraits:0:400"  # a folder of pictures, or portraits:FIRST:COUNT
    held_out: float = 0.02  # share of the pictures, by name, that are never trained on
    pictures: int = 120  # of them that are encoded
    size: int = 1024  # px

    def __post_init__(self) -> None:
        if self.pictures < 1 or not 0 <= self.held_out < 1:
            raise ValueError(
                "expected at least one picture and a held-out share from 0 to below 1, "
                f"got {self.pictures} and {self.held_out}"
            )


def fit_tables(target: Tensor, codes: Tensor, size: int) -> Tensor:
    """Tables whose rows for a cell's codes add up to ``target``, by coordinate descent on the squared error.

    Args:
        target: float32 ``(n, d)``.
        codes: int64 ``(n, q)`` below ``size``.
        size: K, rows of each table.

    Returns:
        float32 ``(q, K, d)``; rows of codes that never occur are 0.
    """
    depth = codes.shape[1]
    tables = target.new_zeros(depth, size, target.shape[1])
    counts = [torch.bincount(codes[:, j], minlength=size)[:, None].float() for j in range(depth)]
    rest = target.clone()
    for _ in range(SWEEPS):
        for j in range(depth):
            rest += tables[j][codes[:, j]]
            sums = torch.zeros_like(tables[j]).index_add_(0, codes[:, j], rest)
            tables[j] = sums / (counts[j] + RIDGE)
            rest -= tables[j][codes[:, j]]
    return tables


def encode_both(
    old: PictureTokenizer, new: PictureTokenizer, options: TransplantSettings
) -> tuple[Tensor, Tensor]:
    """Tokens int64 ``(n, q)`` of the same cells by both tokenizers."""
    training, _ = split(open_source(options.data, options.size), options.held_out)
    count = min(options.pictures, len(training))
    if not count:
        raise ValueError(f"expected pictures in {options.data}, got none")
    pairs = []
    for index in tqdm(range(count), unit="picture"):
        picture = to_tensor(sound_picture(training, index)[None])
        pairs.append([each.encode(picture).flatten(0, 2) for each in (old, new)])
    return torch.cat([pair[0] for pair in pairs]), torch.cat([pair[1] for pair in pairs])


@torch.no_grad()
def transplant(model: Model, tokenizer: PictureTokenizer, old: Tensor, new: Tensor) -> Hourglass:
    """The model's prior for the codes of another tokenizer.

    Args:
        model: with a SUNDAE prior.
        tokenizer: the other one.
        old, new: int64 ``(n, q)`` tokens of the same cells by the model's tokenizer and by the other.

    Raises:
        ValueError: unless the prior is SUNDAE's.
    """
    prior = model.prior
    if type(prior) is not Hourglass:  # the absorbing prior's has a code more
        raise ValueError(f"expected a SUNDAE prior, got {type(prior).__name__}")
    depth, codes, _ = tokenizer.quantizer.codebooks.shape
    fresh = Hourglass(replace(prior.config, codebook_size=codes, depth=depth))
    weights = {name: value for name, value in prior.state_dict().items() if not name.startswith("embed.")}
    if (codes, depth) != (prior.codebook_size, prior.depth):
        weights = {name: value for name, value in weights.items() if not name.startswith("head.")}
    fresh.load_state_dict(weights, strict=False)
    frequencies = torch.stack([torch.bincount(new[:, j], minlength=codes) / len(new) for j in range(depth)])
    fresh.start_from_codebooks(tokenizer.quantizer.codebooks, frequencies)
    target = sum(table(old[:, j]) for j, table in enumerate(prior.embed))
    assert isinstance(target, Tensor), "a prior has at least one table"
    tables = fit_tables(target, new, codes)
    for table, rows in zip(fresh.embed, tables):
        table.get_parameter("weight").copy_(rows)
    missed = target - torch.stack([rows[new[:, j]] for j, rows in enumerate(tables)]).sum(0)
    explained = 1 - float(missed.var() / target.var())
    print(f"embeddings: {explained:.0%} of the variance of the old ones", flush=True)
    return fresh


def main(argv: list[str] | None = None) -> None:
    options, flags = settings.parse(TransplantSettings, __doc__, argv)
    if (Path(options.out) / "config.json").exists():
        raise ValueError(f"expected no bundle at {options.out} yet, found one")
    model, tokenizer = load(options.prior), load_tokenizer(Path(options.tokenizer))
    if flags.dry_run:
        return print(f"{options}\npictures here: {is_here(options.data)}")
    old, new = encode_both(model.tokenizer, tokenizer, options)
    prior = transplant(model, tokenizer, old, new)
    save_bundle(Path(options.out), {"tokenizer": tokenizer, "prior": prior}, {"started_from": model.name})
    return print(options.out)


if __name__ == "__main__":
    settings.guard(main)
