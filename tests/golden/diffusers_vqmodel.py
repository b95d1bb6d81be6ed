"""Compares sundae with diffusers itself on small random weights, and records what diffusers computes.

    pip install diffusers==0.42.1
    python tests/golden/diffusers_vqmodel.py            # exit status 1 unless everything agrees
    python tests/golden/diffusers_vqmodel.py --record   # and writes it to tests/golden/foreign.npz

The tests compare with the recorded numbers, so that they need no diffusers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]

import foreign  # noqa: E402
import test_convert  # noqa: E402

import sundae  # noqa: E402

TOLERANCE = 1e-4


def theirs(folder: Path, image: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (1, h, w) of the picture and the picture (1, 3, H, W) of the codes, as diffusers has them."""
    from diffusers import VQModel  # pyright: ignore[reportMissingImports]

    model = VQModel.from_pretrained(folder).eval()
    with torch.no_grad():
        latents = model.encode(torch.from_numpy(image)).latents
        tokens = model.quantize(latents)[2][2].view(1, *latents.shape[2:])
        shape = (*codes.shape, model.config.vq_embed_dim)
        embedded = model.quantize.get_codebook_entry(torch.from_numpy(codes), shape)
        picture = model.decode(embedded, force_not_quantize=True).sample
    return tokens.numpy(), picture.numpy()


def ours(folder: Path, image: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same as sundae has them."""
    tokenizer = sundae.load(folder).tokenizer
    picture = tokenizer.render(tokenizer.quantizer.embed(torch.from_numpy(codes)[..., None]))
    return tokenizer.encode(torch.from_numpy(image))[..., 0].numpy(), picture.numpy()


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare sundae with diffusers itself.")
    parser.add_argument("--record", action="store_true", help="write what diffusers computes")
    record = parser.parse_args().record
    golden, agree = dict(np.load(HERE / "foreign.npz")), True
    for name, (shapes, write) in test_convert.RECORDED.items():
        if not name.startswith("diffusers"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = write(Path(folder) / "weights.ckpt", foreign.weights(shapes))
            f = sundae.load(path).tokenizer.config.downsample_factor
            image = test_convert.recorded_image(f)
            (tokens, picture), (our_tokens, our_picture) = (
                each(path, image, golden["codes"]) for each in (theirs, ours)
            )
        if record:
            golden |= {f"{name}.tokens": tokens, f"{name}.picture": picture}
        same, recorded = np.array_equal(tokens, our_tokens), np.array_equal(tokens, golden[f"{name}.tokens"])
        apart, moved = (np.abs(picture - p).max() for p in (our_picture, golden[f"{name}.picture"]))
        agree &= same and recorded and max(apart, moved) < TOLERANCE
        print(f"{name}: {len(np.unique(tokens))} codes, the same {same}, as recorded {recorded}; ", end="")
        print(f"pictures apart by {apart:.1e}, from the recorded ones by {moved:.1e}")
    if record:
        np.savez_compressed(HERE / "foreign.npz", **golden)
    return not agree


if __name__ == "__main__":
    sys.exit(main())
