"""Masks: what to repaint, as pixels, as tokens and as a soft edge. True (white) means repaint, everywhere."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

MAX_POSTED_BYTES = 8 * 2**20
MAX_RADIUS = 512

# Steps towards the membrane through the known pixels at each scale; without them every scale's edges show.
_RELAXATIONS = 4

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")


# -- loading -------------------------------------------------------------------------------------------------


def load_mask(
    source: str | Path | bytes | BinaryIO | Image.Image | np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Read a mask as bool (H, W) for a picture of size (width, height).

    source: path, bytes or binary file of a picture, a PIL image, or an array: bool (H, W), or uint8 (H, W),
        (H, W, 3) or (H, W, 4). White (luma of 128 or more) is repainted. A transparent layer painted in one
        colour, as painting programs export it, is repainted wherever it is not fully transparent.
    Raises ValueError (one line) when it is not a picture, has another size, or leaves nothing to repaint.
    """
    if isinstance(source, np.ndarray):
        mask = _mask_from_array(source)
        _check_size((mask.shape[1], mask.shape[0]), size)
    else:
        mask = _mask_from_image(_read_image(source, size, _FORMATS))
    if not mask.any():
        raise ValueError("expected a mask with at least one white pixel (128 or more), got an empty one")
    return mask


def load_posted_mask(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """Read a mask that came over the network: a PNG of at most 8 MB; otherwise as load_mask.

    Its size is compared before anything is decoded, so a small file cannot unfold into a large one.
    """
    if not isinstance(data, bytes):
        raise ValueError(f"expected the bytes of a PNG mask, got {type(data).__name__}")
    if len(data) > MAX_POSTED_BYTES:
        raise ValueError(f"expected a PNG mask of at most {MAX_POSTED_BYTES} bytes, got {len(data)}")
    mask = _mask_from_image(_read_image(data, size, ("PNG",)))
    if not mask.any():
        raise ValueError("expected a mask with at least one white pixel (128 or more), got an empty one")
    return mask


def _check_size(got: tuple[int, int], size: tuple[int, int]) -> None:
    if tuple(got) != tuple(size):
        raise ValueError(
            f"expected a mask of {size[0]}x{size[1]} px like the picture, got {got[0]}x{got[1]} px"
        )


def _mask_from_array(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.bool_ and array.ndim == 2:
        return array.copy()
    if array.dtype == np.uint8 and (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        if array.any() and array.max() == 1:
            raise ValueError("expected a uint8 mask of 0..255, got one of 0..1: multiply by 255 or pass bool")
        return _mask_from_image(Image.fromarray(np.ascontiguousarray(array)))
    raise ValueError(
        f"expected a mask of bool (H, W) or uint8 (H, W[, 3 or 4]), got {array.dtype} {array.shape}"
    )


def _read_image(source: Any, size: tuple[int, int], formats: tuple[str, ...]) -> Image.Image:
    """Open, compare the size in the header, and only then decode; upright."""
    if isinstance(source, Image.Image):
        return _decode(source, size)
    if isinstance(source, str | os.PathLike):
        with _open_path(Path(source)) as file:
            return _open_and_decode(file, size, formats)
    if hasattr(source, "read"):
        try:
            source = source.read()
        except (OSError, ValueError) as error:  # closed, or opened as text
            raise ValueError(
                f"expected a mask file opened in binary mode, got one that fails: {error}"
            ) from error
    if not isinstance(source, bytes | bytearray | memoryview):
        raise ValueError(
            f"expected a mask as path, bytes, binary file, image or array, got {type(source).__name__}"
        )
    return _open_and_decode(io.BytesIO(source), size, formats)


def _open_path(path: Path) -> BinaryIO:
    name = repr(path.name or str(path))
    try:
        if not path.is_file():  # a folder, or a pipe that would be waited for
            raise ValueError(f"expected a mask file, got {name}, which does not exist or is no file")
        return path.open("rb")
    except OSError as error:
        raise ValueError(f"expected a mask file, got {name}: {error.strerror}") from error


def _open_and_decode(file: BinaryIO, size: tuple[int, int], formats: tuple[str, ...]) -> Image.Image:
    wanted = "PNG mask" if formats == ("PNG",) else "mask picture"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opened = Image.open(file, formats=formats)
    except Exception as error:  # decoders raise nearly every exception there is on damaged data
        raise ValueError(f"expected a {wanted}, got data that is none or is damaged") from error
    return _decode(opened, size)


def _decode(opened: Image.Image, size: tuple[int, int]) -> Image.Image:
    if sorted(opened.size) != sorted(size):  # a quarter turn may still be applied
        _check_size(opened.size, size)
    try:
        image = ImageOps.exif_transpose(opened)
    except Exception as error:
        raise ValueError("expected a whole mask picture, got one that is truncated or damaged") from error
    _check_size(image.size, size)
    return image


def _mask_from_image(image: Image.Image) -> np.ndarray:
    """bool (H, W) of an image in any usual mode, by the rules of load_mask."""
    if image.mode.startswith("I;16"):
        return np.asarray(image) >= 32768
    if image.mode in ("I", "F", "LAB"):
        raise ValueError(f"expected a mask of 1, 8 or 16 bits per channel, got mode {image.mode}")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _mask_from_rgba(image.convert("RGBA"))
    if image.mode not in ("1", "L"):
        image = image.convert("RGB")  # palettes first become colours
    return np.asarray(image.convert("L")) >= 128


def _mask_from_rgba(image: Image.Image) -> np.ndarray:
    """bool (H, W) of an RGBA image: a layer of one paint is its alpha, anything else its white and visible pixels."""
    white = np.asarray(image.convert("RGB").convert("L")) >= 128
    faintest, most = image.getchannel("A").getextrema()
    if faintest == 255:
        return white
    rgba = np.asarray(image)
    alpha = rgba[..., 3]
    # Faint edges of a stroke lose their colour to rounding, so only the solid part says which paint it is.
    solid = rgba[alpha >= min(128, most)][:, :3]
    one_paint = (solid.max(axis=0).astype(int) - solid.min(axis=0) <= 8).all()
    return alpha > 0 if one_paint else white & (alpha > 0)


def mask_png(mask: np.ndarray) -> bytes:
    """A one-bit PNG of a bool mask (H, W), white = repaint."""
    buffer = io.BytesIO()
    Image.fromarray(_checked_mask(mask)).save(buffer, "PNG")
    return buffer.getvalue()


# -- growing, shrinking, softening ---------------------------------------------------------------------------


def grow(mask: np.ndarray, px: int) -> np.ndarray:
    """Add every pixel within px (Euclidean) of a bool mask (H, W); px = 0 copies it."""
    _check_radius(px)
    grown = _checked_mask(mask).copy()
    if px:
        near = _near(mask, px)
        grown[near] = _distance_squared(mask[near], px) <= px * px
    return grown


def shrink(mask: np.ndarray, px: int) -> np.ndarray:
    """Remove every pixel within px (Euclidean) of the outside; the picture's own edge is no outside."""
    return ~grow(~_checked_mask(mask), px)


def feather(mask: np.ndarray, px: int) -> np.ndarray:
    """Opacity of the new pixels, float32 (H, W): 0 outside the mask, in it a ramp over px pixels up to 1.

    A pixel at distance d of the nearest pixel outside gets min(1, d / (px + 1)); px = 0 is a hard edge.
    """
    _check_radius(px)
    opacity = _checked_mask(mask).astype(np.float32)
    if px:
        near = _near(mask, 1)  # nothing outside is nearer than its rim
        distance = np.sqrt(_distance_squared(~mask[near], px + 1).astype(np.float32))
        opacity[near] = np.minimum(distance / np.float32(px + 1), np.float32(1))
    return opacity


def _near(mask: np.ndarray, rim: int) -> tuple[slice, slice]:
    """Rows and columns of the True pixels of a bool mask (H, W) and of ``rim`` pixels around them; none if there are
    none."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return slice(0), slice(0)
    top, left = max(0, rows[0] - rim), max(0, columns[0] - rim)
    return slice(top, rows[-1] + rim + 1), slice(left, columns[-1] + rim + 1)


def _checked_mask(mask: np.ndarray) -> np.ndarray:
    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"expected a bool mask (H, W), got {mask.dtype} {mask.shape}")
    return mask


def _check_radius(px: int) -> None:
    if isinstance(px, bool) or not isinstance(px, int | np.integer) or not 0 <= px <= MAX_RADIUS:
        raise ValueError(f"expected a whole number of pixels from 0 to {MAX_RADIUS}, got {px!r}")


def _distance_squared(mask: np.ndarray, limit: int) -> np.ndarray:
    """Squared distance (H, W) to the nearest True pixel: exact up to limit, some value above limit**2 beyond.

    Two passes: along columns by carrying the nearest row down and up, along rows as a minimum over offsets.
    """
    limit = int(limit)
    vertical = np.minimum(_column_distance(mask), limit + 1)
    # The largest sum below is (limit + 1)**2 + limit**2.
    dtype = np.uint16 if (limit + 1) ** 2 + limit**2 < 2**16 else np.uint32
    squared = vertical.astype(dtype) ** 2
    out = squared.copy()
    width = mask.shape[1]
    for offset in range(1, min(limit, width - 1) + 1):
        shifted = squared + dtype(offset * offset)
        np.minimum(out[:, offset:], shifted[:, :-offset], out=out[:, offset:])
        np.minimum(out[:, :-offset], shifted[:, offset:], out=out[:, :-offset])
    return out


def _column_distance(mask: np.ndarray) -> np.ndarray:
    """int32 (H, W): rows to the nearest True pixel of the same column; huge where there is none."""
    rows = np.arange(mask.shape[0], dtype=np.int32)[:, None]
    far = np.int32(2**20)
    above = np.maximum.accumulate(np.where(mask, rows, -far), axis=0)
    below = np.minimum.accumulate(np.where(mask, rows, far)[::-1], axis=0)[::-1]
    return np.minimum(rows - above, below - rows)


# -- tokens --------------------------------------------------------------------------------------------------


def token_mask(mask: torch.Tensor, f: int, rule: str = "any") -> torch.Tensor:
    """Which tokens to rewrite: bool (B, 1, H, W) to bool (B, H/f, W/f).

    rule: "any" rewrites a token when any of its f x f pixels is masked; "all" only when all of them are.
    """
    if mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[1] != 1:
        raise ValueError(f"expected a bool mask (B, 1, H, W), got {mask.dtype} {tuple(mask.shape)}")
    if f < 1 or mask.shape[2] % f or mask.shape[3] % f:
        raise ValueError(f"expected sides that are multiples of {f}, got {tuple(mask.shape[2:])}")
    if rule not in ("any", "all"):
        raise ValueError(f"expected a mask rule of 'any' or 'all', got {rule!r}")
    if rule == "all":
        return ~token_mask(~mask, f, "any")
    return F.max_pool2d(mask.float(), f)[:, 0] > 0


# -- filling the hole before encoding ------------------------------------------------------------------------


def prefill(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Fill the hole smoothly from its surroundings (pull-push: Gortler et al. 1996, section 3.4).

    image: float (B, 3, H, W) in [-1, 1]; mask: bool (B, 1, H, W), True = fill. Returns float32 (B, 3, H, W).
    Pixels outside the mask keep their bits; what lies under it (NaN included) is not read; each item of the
    batch depends on itself alone; nothing known gives mid grey (0). Only single additions, products and
    quotients are used, so that the result does not depend on threads, batch size or vector width.
    """
    if not image.is_floating_point() or image.ndim != 4:
        raise ValueError(f"expected a float image (B, 3, H, W), got {image.dtype} {tuple(image.shape)}")
    if mask.dtype != torch.bool or mask.shape != (image.shape[0], 1, *image.shape[2:]):
        raise ValueError(
            f"expected a bool mask {(image.shape[0], 1, *image.shape[2:])}, got {tuple(mask.shape)}"
        )
    image = image.float()
    if not mask.any():
        return image.clone()
    coarse = _pull(torch.where(mask, 0.0, image), (~mask).float())
    return torch.where(mask, _push(coarse, image.shape[2:]), image)


def reduce_known(rgb: np.ndarray, hole: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (H, W, 3) and a bool hole (H, W), made smaller by a whole factor: the mean of the known pixels of every
    ``factor x factor`` block, and which blocks have none.

    The last rows and columns that fill no block are repeated to make one.
    """
    h, w = hole.shape
    pad = ((0, -h % factor), (0, -w % factor))
    known = np.pad(~hole, pad, mode="edge").astype(np.float32)
    values = np.pad(rgb, (*pad, (0, 0)), mode="edge").astype(np.float32) * known[..., None]
    rows, columns = known.shape[0] // factor, known.shape[1] // factor
    count = known.reshape(rows, factor, columns, factor).sum((1, 3))
    total = values.reshape(rows, factor, columns, factor, 3).sum((1, 3))
    mean = np.rint(total / np.maximum(count, 1)[..., None]).astype(np.uint8)
    return mean, count == 0


def _fill(colour: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Blend coarser averages into colour (B, 3, h, w) where weight (B, 1, h, w) in [0, 1] is below 1."""
    if colour.shape[2:] == (1, 1):
        return colour
    known, missing = colour * weight, 1.0 - weight
    filled = known + _push(_pull(known, weight), colour.shape[2:]) * missing
    for _ in range(_RELAXATIONS):
        filled = known + _mean_of_neighbours(filled) * missing
    return filled


def _pull(known: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The filled half-size picture of weighted colours: (B, 3, h, w) to (B, 3, ceil(h/2), ceil(w/2))."""
    total = _sum_of_four(weight)
    # The mean of the known pixels; where there are none the sum is 0, and so is the quotient.
    mean = _sum_of_four(known) / total.clamp(min=2.0**-60)
    return _fill(mean, total.clamp(max=1.0))


def _push(coarse: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Enlarge twice, cut to size (h, w)."""
    return _enlarge(_enlarge(coarse, 2)[:, :, : size[0]], 3)[:, :, :, : size[1]]


def _mean_of_neighbours(x: torch.Tensor) -> torch.Tensor:
    """The mean of the four neighbours of each pixel of (B, C, h, w), the border repeated."""
    x = F.pad(x, (1, 1, 1, 1), mode="replicate")
    across = x[:, :, 1:-1, :-2] + x[:, :, 1:-1, 2:]
    along = x[:, :, :-2, 1:-1] + x[:, :, 2:, 1:-1]
    return (across + along) * 0.25


def _sum_of_four(x: torch.Tensor) -> torch.Tensor:
    """Sum over 2 x 2 blocks, (B, C, h, w) to (B, C, ceil(h/2), ceil(w/2)); missing pixels count as 0."""
    x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    rows = x[:, :, 0::2] + x[:, :, 1::2]
    return rows[:, :, :, 0::2] + rows[:, :, :, 1::2]


def _enlarge(x: torch.Tensor, axis: int) -> torch.Tensor:
    """Linear interpolation to twice the size along one axis, the ends held."""
    size = x.shape[axis]
    before = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, size - 1)], axis)
    after = torch.cat([x.narrow(axis, 1, size - 1), x.narrow(axis, size - 1, 1)], axis)
    near = x * 0.75
    both = torch.stack([near + before * 0.25, near + after * 0.25], axis + 1)
    return both.flatten(axis, axis + 1)
