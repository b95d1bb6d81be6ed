"""Pictures in and out: files, PIL images and arrays to tensors, and back without touching known pixels."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import threading
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin

from sundae import masks
from sundae.window import Box

MIN_SIDE = 16
MAX_SIDE = 8192

_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")
_NAMES = "a PNG, JPEG, WebP, TIFF, BMP or GIF picture"
_EXTENSIONS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
    ".gif": "GIF",
}
# Modes a format gives back with the same pixel values (JPEG: nearly) in the same kind of picture.
_HOLDS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("1", "L", "P"),
}
_OWN_MODES = _HOLDS["TIFF"]
_CONVERTED = {"RGBX": "RGB", "RGBa": "RGBA", "La": "LA", "YCbCr": "RGB", "HSV": "RGB"}
_FILL_SIDE = 512  # px, about: of the longer side of a picture in which transparent pixels are given colours
# A TIFF keeps its layout (strips, compression) in the same table as its EXIF: these describe the picture.
_TIFF_EXIF_TAGS = (270, 271, 272, 305, 306, 315, 33432)
_EXIF_IFDS = (0x8769, 0x8825)

_warnings_lock = threading.RLock()


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright picture as the user gave it, with what is needed to save it again.

    image: upright first frame, in its own mode: 1, L, LA, P, PA, RGB, RGBA, CMYK or I;16.
    rgb: uint8 (H, W, 3), read-only: what the model sees: greyscale replicated, alpha ignored but for pixels that are
        transparent altogether, which take their colours from those around them.
    format: PNG, JPEG, WEBP, TIFF, BMP or GIF; None when the picture did not come from a file.
    exif: EXIF block without orientation and thumbnail.
    notes: what will be lost or limited, one sentence each.
    inner: left, top, right and bottom of what was there before :func:`extend_picture` added margins; else None.
    generated: whether its file says that a trained model drew all of it.
    """

    image: Image.Image
    rgb: np.ndarray
    format: str | None = None
    icc_profile: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()
    inner: tuple[int, int, int, int] | None = None
    generated: bool = False

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.image.size


# -- loading -------------------------------------------------------------------------------------------------


def load_picture(source: str | Path | bytes | BinaryIO | Image.Image | np.ndarray, name: str = "") -> Picture:
    """Load a picture upright, in its own colour mode, without loss.

    source: path, bytes or binary file of a PNG, JPEG, WebP, TIFF, BMP or GIF (first frame); a PIL image;
        or a uint8 array (H, W), (H, W, 3) or (H, W, 4). Nothing of the caller's is changed or kept.
    name: what messages call bytes or a binary file; a path has its own name.
    Raises ValueError (one line) when it is none of these, is damaged, or has a side outside 16..8192 px; the
        size is checked before any pixel is decoded.
    """
    with _quiet():
        if isinstance(source, np.ndarray):
            return _picture_from(_image_from_array(source), "the array")
        if isinstance(source, Image.Image):
            return _picture_from(source, "the PIL image")
        with _opened(source, name) as (file, known_as):
            with _decoding(known_as):
                opened = Image.open(file, formats=_FORMATS)
            return _picture_from(opened, known_as)


def picture_files(path: Path) -> list[Path]:
    """A file itself, or the files in and below a folder that are named as pictures are, sorted.

    Raises ValueError when a folder has none.
    """
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _EXTENSIONS and file.is_file())
    if not files:
        raise ValueError(f"expected pictures in the folder {str(path)!r}, got none")
    return files


def _picture_from(opened: Image.Image, name: str) -> Picture:
    """Decode, turn upright and describe an opened image."""
    _check_size(opened.size, name)
    notes = []
    layout = _sample_layout(opened)
    with _decoding(name):
        opened.load()
        image = ImageOps.exif_transpose(opened)  # always a new image
        info = dict(opened.info)
    _check_size(image.size, name)
    if layout == "deep":
        notes.append("the file has 16 bits per channel; colours are read and saved with 8")
    icc_profile = info.get("icc_profile") or None
    if image.mode == "LAB":
        icc_profile = None  # the profile describes Lab values, the pixels are sRGB from here on
    own = _in_own_mode(image, name, notes)
    own.info = _kept_info(info, own.mode, layout)
    exif = _exif_without_orientation(opened, notes)
    notes += _lost_extras(opened, info)
    alpha = _opacity(own)
    notes += _mode_limits(own, alpha)
    rgb = _seen(own, alpha)
    rgb.flags.writeable = False
    known = {"MPO": "JPEG"}.get(opened.format or "", opened.format)
    form, generated = known if known in _FORMATS else None, _is_generated(info)
    return Picture(own, rgb, form, icc_profile, exif, tuple(notes), generated=generated)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Pillow's warnings (bombs, odd EXIF): what matters is raised or noted.

    The filters are global, so a lock keeps two threads from restoring each other's.
    """
    with _warnings_lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turn what a decoder raises on damaged data, nearly every exception there is, into one line."""
    try:
        yield
    except Image.UnidentifiedImageError as error:
        raise ValueError(f"expected {_NAMES}, got {name}, which is none of these or is damaged") from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"expected sides of {MIN_SIDE} to {MAX_SIDE} px, got {name}, which is far larger"
        ) from error
    except Exception as error:
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise ValueError(
            f"expected a whole picture, got {name}, which is truncated or damaged ({reason})"
        ) from error


@contextlib.contextmanager
def _opened(source: Any, given: str) -> Iterator[tuple[BinaryIO, str]]:
    """Yield a seekable binary file and its name for messages; ``given`` names what has none itself."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        name = repr(path.name or str(path))
        with _open_path(path, name) as file:
            yield file, name
        return
    if not isinstance(source, bytes | bytearray | memoryview):
        if not hasattr(source, "read"):
            kind = type(source).__name__
            raise ValueError(
                f"expected a path, bytes, a binary file, a PIL image or a uint8 array, got {kind}"
            )
        with _decoding(repr(given) if given else "the file object"):
            source = source.read()
        if not isinstance(source, bytes):
            raise ValueError(
                f"expected a file opened in binary mode, got one that reads {type(source).__name__}"
            )
    if not len(source):
        empty = f"{given!r}, which is empty" if given else "no bytes at all"
        raise ValueError(f"expected {_NAMES}, got {empty}")
    yield io.BytesIO(source), repr(given) if given else f"data of {len(source)} bytes"


def _open_path(path: Path, name: str) -> BinaryIO:
    try:
        if "\0" in str(path):
            raise ValueError(f"expected a picture file, got {name}, which is no file name")
        if path.is_dir():
            raise ValueError(f"expected a picture file, got the folder {name}")
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise ValueError(f"expected a picture file, got {name}, which is no regular file")
        file = path.open("rb")
    except OSError as error:
        raise ValueError(f"expected a picture file, got {name}: {error.strerror}") from error
    if os.fstat(file.fileno()).st_size == 0:
        file.close()
        raise ValueError(f"expected {_NAMES}, got {name}, which is empty")
    return file


def _image_from_array(array: np.ndarray) -> Image.Image:
    wanted = "expected a uint8 array (H, W), (H, W, 3) or (H, W, 4)"
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise ValueError(f"{wanted}, got {array.dtype} {array.shape}")
    _check_size((array.shape[1], array.shape[0]), "the array")
    return Image.fromarray(np.ascontiguousarray(array))


def _check_size(size: tuple[int, int], name: str) -> None:
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise ValueError(
            f"expected sides of {MIN_SIDE} to {MAX_SIDE} px, got {name} of {size[0]}x{size[1]} px"
        )


def _sample_layout(opened: Image.Image) -> str | None:
    """How the file stores samples where Pillow's mode does not tell: deep, L;2, L;4 or None.

    To be called before load(), which forgets it.
    """
    bits = getattr(opened, "tag_v2", {}).get(258, ()) if opened.format == "TIFF" else ()
    if opened.mode in _OWN_MODES and opened.mode != "I;16" and any(b > 8 for b in np.atleast_1d(bits)):
        return "deep"
    tiles = getattr(opened, "tile", None)
    rawmode = str(tiles[0][3]) if opened.format == "PNG" and tiles else ""
    if opened.mode in ("RGB", "RGBA", "LA") and ";16" in rawmode:
        return "deep"
    return rawmode if rawmode in ("L;2", "L;4") else None


def _in_own_mode(image: Image.Image, name: str, notes: list[str]) -> Image.Image:
    """The image, converted where its mode is none of the nine the rest of the module knows."""
    if image.mode in _OWN_MODES:
        return image
    if image.mode in _CONVERTED:
        notes.append(f"{image.mode} colours are converted to {_CONVERTED[image.mode]}")
        return image.convert(_CONVERTED[image.mode])
    if image.mode == "LAB":
        notes.append("LAB colours are converted to sRGB")
        to_srgb = ImageCms.buildTransform(
            ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
        )
        return to_srgb.apply(image)
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(
                f"expected 8 or 16 bits per channel, got {name} with values beyond 0..65535 (mode I)"
            )
        return Image.fromarray(values.astype("<u2"))
    raise ValueError(
        f"expected 8 or 16 bits per channel, got {name} in mode {image.mode}: convert it to one of these"
    )


def _kept_info(info: dict[Any, Any], mode: str, layout: str | None) -> dict[Any, Any]:
    """What travels inside the image: its transparency and its print resolution."""
    kept: dict[Any, Any] = {}
    transparency = _transparency(info.get("transparency"), mode, layout)
    if transparency is not None:
        kept["transparency"] = transparency
    with contextlib.suppress(TypeError, ValueError, ZeroDivisionError, OverflowError):
        dpi = tuple(float(value) for value in info.get("dpi", ()))
        if len(dpi) == 2 and all(math.isfinite(value) and 1 <= value <= 30000 for value in dpi):
            kept["dpi"] = dpi
    return kept


def _transparency(key: Any, mode: str, layout: str | None) -> Any:
    """The invisible palette entries or colour of an image, or None when there is none a pixel could have."""
    if mode == "P" and isinstance(key, int | bytes):
        return key
    # Pillow brings the samples to 8 bits but leaves the transparent value in the bits of the file.
    if mode == "RGB" and isinstance(key, tuple) and len(key) == 3:
        key = tuple(value >> 8 for value in key) if layout == "deep" else key
        return key if all(0 <= value <= 255 for value in key) else None
    if mode in ("1", "L", "I;16") and isinstance(key, int):
        key *= {"L;2": 85, "L;4": 17}.get(layout or "", 1)
        return key if 0 <= key <= (65535 if mode == "I;16" else 255) else None
    return None


def _exif_without_orientation(opened: Image.Image, notes: list[str]) -> bytes | None:
    """The EXIF block without orientation (applied) and thumbnail (it would show what was painted away)."""
    try:
        source, kept = opened.getexif(), Image.Exif()
        if opened.format == "TIFF":
            for tag in _TIFF_EXIF_TAGS:
                if tag in source:
                    kept[tag] = source[tag]
            for tag in _EXIF_IFDS:
                nested = dict(source.get_ifd(tag))
                nested.pop(ExifTags.IFD.Interop, None)  # an offset into the old file
                if nested:
                    kept.get_ifd(tag).update(nested)
        else:
            kept.load(source.tobytes())
            if ExifTags.Base.Orientation in kept:
                del kept[ExifTags.Base.Orientation]
        block = kept.tobytes()
        return block if len(block) > len(Image.Exif().tobytes()) else None
    except Exception:  # EXIF in the wild is broken in every way, and never worth refusing a picture
        notes.append("the EXIF block is damaged and not kept")
        return None


def _xmp_of(info: dict[Any, Any]) -> str:
    """The XMP of a file; empty if it has none."""
    xmp = info.get("XML:com.adobe.xmp") or info.get("xmp") or ""
    return xmp.decode("utf-8", "replace") if isinstance(xmp, bytes) else str(xmp)


def _source_types(info: dict[Any, Any]) -> set[str]:
    """The IPTC's terms that the XMP of a file gives for where its parts come from."""
    return set(re.findall(r"digitalsourcetype/(\w+)", _xmp_of(info)))


def _is_generated(info: dict[Any, Any]) -> bool:
    """Whether the XMP of a file says that a trained model made all of it, and says nothing else of any part."""
    return _source_types(info) == {"trainedAlgorithmicMedia"}


def _lost_extras(opened: Image.Image, info: dict[Any, Any]) -> list[str]:
    lost = []
    try:
        frames = int(getattr(opened, "n_frames", 1))
    except Exception:  # a damaged second frame does not spoil the first
        frames = 2
    if frames > 1:
        kind = "page" if opened.format == "TIFF" else "frame"
        lost.append(f"only the first {kind} is used; the others are not kept")
    ours = map(_XMP.format, _source_types(info))  # made anew when a picture is saved
    if _xmp_of(info) not in ("", *ours):
        lost.append("XMP metadata is not kept")
    if set(getattr(opened, "text", {})) - {"sundae", "XML:com.adobe.xmp"}:
        lost.append("PNG text comments are not kept")
    return lost


def _mode_limits(image: Image.Image, alpha: np.ndarray | None) -> list[str]:
    limits = []
    if image.mode in ("P", "PA"):
        count = len(_palette(image)[0])
        limits.append(f"palette picture: new pixels take the nearest of its {count} colours")
    if image.mode == "1":
        limits.append("black-and-white picture: new pixels are black or white")
    if alpha is not None and alpha.min() == 0:
        limits.append("transparent parts stay transparent: nothing that is drawn there is seen")
    return limits


def opacity(picture: Picture, area: Box | None = None) -> np.ndarray | None:
    """uint8 (H, W) from 0, transparent, to 255, as its alpha channel, palette or colour key says, of an area or of all
    of it; None if every pixel there is opaque."""
    alpha = _opacity(picture.image if area is None else picture.image.crop(astuple(area)))
    return None if alpha is None or alpha.min() == 255 else alpha


def _opacity(image: Image.Image) -> np.ndarray | None:
    """The same, None where nothing says anything of it."""
    values = np.asarray(image.getchannel("A")) if image.mode in ("LA", "PA", "RGBA") else None
    if image.mode in ("P", "PA"):
        table = np.full(256, 255, np.uint8)
        alpha = _palette(image)[1]
        table[: len(alpha)] = alpha
        indices = np.asarray(image if image.mode == "P" else image.getchannel("P"))
        return table[indices] if values is None else np.minimum(table[indices], values)
    if values is None and "transparency" in image.info:
        return np.where(_keyed_out(image), 0, 255).astype(np.uint8)
    return values


# -- colours -------------------------------------------------------------------------------------------------


def _seen(image: Image.Image, alpha: np.ndarray | None) -> np.ndarray:
    """uint8 (H, W, 3), a fresh array: its colours, and where it is transparent altogether those around. What programs
    leave there, black as a rule, nobody sees; taken for a part of the picture it would colour what is drawn beside it."""
    rgb = _rgb_view(image)
    if alpha is None or alpha.min() > 0:
        return rgb
    hidden = alpha == 0
    factor = max(1, round(max(hidden.shape) / _FILL_SIDE))
    height = 64 * factor  # of strips: floats of all of it at once would fill the memory
    strips = [
        masks.reduce_known(rgb[top : top + height], hidden[top : top + height], factor)
        for top in range(0, len(hidden), height)
    ]
    mean, unknown = (np.concatenate(parts) for parts in zip(*strips, strict=True))
    filled = to_rgb(masks.prefill(to_tensor(mean), torch.from_numpy(unknown)[None, None]))[0]
    around = resize_rgb(filled, (filled.shape[1] * factor, filled.shape[0] * factor))
    rgb[hidden] = around[: len(hidden), : hidden.shape[1]][hidden]
    return rgb


def _rgb_view(image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3), a fresh array: straight colours, alpha ignored."""
    if image.mode in ("P", "PA"):
        indices = np.asarray(image)
        table = np.zeros((256, 3), np.uint8)
        colours = _palette(image)[0]
        table[: len(colours)] = colours
        return table[indices if image.mode == "P" else indices[..., 0]]
    if image.mode == "CMYK":
        return np.array(image.convert("RGB"))
    values = np.asarray(image)
    if image.mode == "1":
        values = values.astype(np.uint8) * 255
    elif image.mode == "I;16":
        values = ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif image.mode == "LA":
        values = values[..., 0]
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=2)
    return np.array(values[..., :3])


def _palette(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Colours uint8 (n, 3) and alpha uint8 (n,) of a palette image."""
    table = np.array(image.getpalette("RGBA") or [], np.uint8).reshape(-1, 4)
    colours, alpha = table[:, :3], table[:, 3].copy()
    transparency = image.info.get("transparency")
    if isinstance(transparency, int) and 0 <= transparency < len(alpha):
        alpha[transparency] = 0
    elif isinstance(transparency, bytes):
        count = min(len(transparency), len(alpha))
        alpha[:count] = np.frombuffer(transparency, np.uint8)[:count]
    return colours, alpha


def _luma(rgb: np.ndarray) -> np.ndarray:
    """uint8 (..., 3) to uint8 (...), ITU-R 601, rounded as Pillow does; grey maps to itself."""
    weights = np.array([19595, 38470, 7471], np.uint32)
    return ((rgb.astype(np.uint32) @ weights + 32768) >> 16).astype(np.uint8)


def _nearest(rgb: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Index (n,) into colours (k, 3) of the nearest one to each of rgb (n, 3), by squared distance."""
    packed = rgb.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    unique, inverse = np.unique(packed, return_inverse=True)
    points = np.stack([unique >> 16, unique >> 8 & 255, unique & 255], axis=1).astype(np.float32)
    targets = colours.astype(np.float32)
    found = np.empty(len(unique), np.int64)
    for start in range(
        0, len(unique), 65536
    ):  # bounds memory; float32 is exact here, all values are below 2**24
        part = points[start : start + 65536]
        found[start : start + 65536] = ((targets**2).sum(1) - 2 * part @ targets.T).argmin(1)
    return found[inverse.reshape(-1)]


# -- editing -------------------------------------------------------------------------------------------------


def replace_pixels(picture: Picture, box: Box, patch_rgb: np.ndarray, hole: np.ndarray) -> Image.Image:
    """A copy of picture.image, in its own mode, with the hole's pixels taken from a patch.

    box: region of it; patch_rgb: uint8 (box.height, box.width, 3); hole: bool (box.height, box.width).
    Pixels where hole is False keep their bytes. Alpha never changes: pixels that palette or colour-key
    transparency hides stay as they are, and a new pixel never becomes transparent.
    Raises ValueError on a box outside the picture or shapes and dtypes that do not fit it.
    """
    _check_patch(picture, box, patch_rgb, hole)
    image = picture.image.copy()
    region = image.crop((box.left, box.top, box.right, box.bottom))
    hole = hole & ~_keyed_out(region)
    if hole.any():
        patch = _patch_in_mode(region, patch_rgb, hole)
        image.paste(patch, (box.left, box.top), Image.fromarray(hole))
    return image


def in_own_colours(picture: Picture, box: Box, patch_rgb: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """What a patch looks like once :func:`replace_pixels` has put it into a picture of few colours: grey in a
    grey one, in the palette's colours in a palette one.

    Arguments and errors are those of :func:`replace_pixels`; uint8 (box.height, box.width, 3), a fresh array
    whose pixels outside the hole are the picture's.
    """
    _check_patch(picture, box, patch_rgb, hole)
    corner = picture.image.crop((box.left, box.top, box.right, box.bottom))
    region = replace(picture, image=corner, rgb=picture.rgb[box.slices])
    shown = _rgb_view(replace_pixels(region, Box(0, 0, box.width, box.height), patch_rgb, hole))
    kept = ~hole | _keyed_out(corner)
    shown[kept] = region.rgb[kept]
    return shown


def _check_patch(picture: Picture, box: Box, patch_rgb: np.ndarray, hole: np.ndarray) -> None:
    width, height = picture.size
    if not (0 <= box.left < box.right <= width and 0 <= box.top < box.bottom <= height):
        raise ValueError(f"expected a box inside {width}x{height} px, got {box}")
    shape = (box.height, box.width)
    if patch_rgb.dtype != np.uint8 or patch_rgb.shape != (*shape, 3):
        raise ValueError(f"expected a uint8 patch {(*shape, 3)}, got {patch_rgb.dtype} {patch_rgb.shape}")
    if hole.dtype != np.bool_ or hole.shape != shape:
        raise ValueError(f"expected a bool hole {shape}, got {hole.dtype} {hole.shape}")


def _keyed_out(region: Image.Image) -> np.ndarray:
    """bool (H, W): pixels hidden by palette or colour-key transparency, which lives in the colour itself."""
    none = np.zeros((region.height, region.width), bool)
    values = np.asarray(region)
    if region.mode in ("P", "PA"):
        indices = values if region.mode == "P" else values[..., 0]
        invisible = np.zeros(256, bool)
        alpha = _palette(region)[1]
        invisible[: len(alpha)] = alpha == 0
        return invisible[indices]
    key = region.info.get("transparency")
    if key is None or region.mode not in ("1", "L", "I;16", "RGB"):
        return none
    if region.mode == "RGB":
        return (values == np.array(key)).all(axis=2)
    return values == (bool(key) if region.mode == "1" else key)


def _patch_in_mode(region: Image.Image, rgb: np.ndarray, hole: np.ndarray) -> Image.Image:
    """The patch as an image of the region's mode; only pixels inside the hole matter."""
    mode, key = region.mode, region.info.get("transparency")
    if mode in ("P", "PA"):
        return _patch_in_palette(region, rgb, hole)
    if mode == "RGB":
        values = rgb.copy()
        if key is not None:  # one step of blue keeps a new pixel from being the transparent colour
            values[(values == np.array(key)).all(axis=2), 2] = key[2] - 1 if key[2] else 1
        return Image.fromarray(values)
    if mode == "RGBA":
        return Image.fromarray(np.dstack([rgb, np.asarray(region)[..., 3]]))
    if mode == "CMYK":
        return Image.fromarray(np.ascontiguousarray(rgb)).convert("CMYK")
    grey = _luma(rgb)
    if mode == "LA":
        return Image.fromarray(np.dstack([grey, np.asarray(region)[..., 1]]))
    if mode == "1":
        return Image.fromarray(grey >= 128)
    values = grey.astype("<u2") * np.uint16(257) if mode == "I;16" else grey
    if key is not None:
        values[values == key] = key - 1 if key else 1
    return Image.fromarray(values)


def _patch_in_palette(region: Image.Image, rgb: np.ndarray, hole: np.ndarray) -> Image.Image:
    colours, alpha = _palette(region)
    # Only entries that show: half-transparent ones are the last resort, invisible ones never chosen.
    usable = np.flatnonzero(alpha == 255) if (alpha == 255).any() else np.flatnonzero(alpha)
    values = np.array(region)
    indices = values if region.mode == "P" else values[..., 0]
    indices[hole] = usable[_nearest(rgb[hole], colours[usable])]
    return Image.frombytes(region.mode, region.size, values.tobytes())


def extend_picture(picture: Picture, left: int, right: int, top: int, bottom: int) -> Picture:
    """The picture with so many px of grey more on each side, opaque where it has an alpha; its own pixels keep
    their bytes.

    Raises ValueError when a side would be longer than 8192 px.
    """
    image = picture.image
    size = (image.width + left + right, image.height + top + bottom)
    _check_size(size, "an extended picture")
    margin = np.ones((size[1], size[0]), bool)
    margin[top : top + image.height, left : left + image.width] = False
    wide = image.crop((-left, -top, size[0] - left, size[1] - top))
    grey = Image.new(image.mode, size, _visible_colour(image))  # pasted as a colour, Pillow spoils 16 bits
    wide.paste(grey, (0, 0), Image.fromarray(margin))
    rgb = _seen(wide, _opacity(wide))
    rgb.flags.writeable = False
    return replace(picture, image=wide, rgb=rgb, inner=(left, top, left + image.width, top + image.height))


def _visible_colour(image: Image.Image) -> int | tuple[int, ...]:
    """A pixel value of the image's mode that its transparency does not hide: grey, or an entry of its palette."""
    mode, key = image.mode, image.info.get("transparency")
    if mode in ("P", "PA"):
        entry = int(_palette(image)[1].argmax())
        return entry if mode == "P" else (entry, 255)
    if mode in ("1", "L", "I;16"):
        grey, other = {"1": (255, 0), "L": (128, 127), "I;16": (32896, 32895)}[mode]
        hidden = bool(key) if mode == "1" else key == grey
        return other if hidden else grey
    if mode in ("LA", "RGBA"):
        return (128,) * (len(mode) - 1) + (255,)
    return (127, 127, 127) if key == (128, 128, 128) else (128,) * 3 + (0,) * (mode == "CMYK")


# -- saving --------------------------------------------------------------------------------------------------


def save_picture(
    image: Image.Image,
    path: str | Path | BinaryIO,
    picture: Picture,
    settings: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Save an image with the colour profile and EXIF of the picture it came from; return notes on losses.

    path: its extension chooses the format; an open binary file without a known one gets a PNG. A file appears
        whole or not at all. PNG stores settings as JSON in the text chunk "sundae", and with them the IPTC's mark
        of what a model made, as :func:`source_type` says.
    Raises ValueError when the file exists (unless overwrite), its folder does not, its extension is unknown
        or the format cannot hold the image.
    """
    if not isinstance(path, str | os.PathLike):
        form = _EXTENSIONS.get(Path(str(getattr(path, "name", ""))).suffix.lower(), "PNG")
        _check_holds(image, form)
        data, notes = _encode(image, form, picture, settings)
        path.write(data)
        return notes
    target = Path(path)
    form = _EXTENSIONS.get(target.suffix.lower())
    if form is None:
        known = " ".join(sorted(_EXTENSIONS))
        raise ValueError(f"expected a name ending in one of {known}, got {target.name!r}")
    _check_holds(image, form)
    target = _checked_target(target, overwrite)
    data, notes = _encode(image, form, picture, settings)
    _write_atomically(target, data, overwrite)
    return notes


def png_bytes(
    image: Image.Image, settings: dict[str, Any] | None = None, icc_profile: bytes | None = None
) -> bytes:
    """A lossless PNG of the image, with settings as JSON in the text chunk "sundae"."""
    _check_holds(image, "PNG")
    buffer = io.BytesIO()
    chunk = _settings_chunk(settings, generated=False)
    image.save(buffer, "PNG", pnginfo=chunk, icc_profile=icc_profile)
    return buffer.getvalue()


def jpeg_bytes(rgb: np.ndarray, quality: int = 88) -> bytes:
    """A JPEG of uint8 (H, W, 3), for previews."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(_checked_rgb(rgb))).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _holds(image: Image.Image, form: str) -> bool:
    if image.mode not in _HOLDS[form]:
        return False
    if image.mode == "P" and image.im.getpalettemode() == "RGBA":
        return form == "PNG"
    key = image.info.get("transparency")
    # An invisible colour is part of the picture: elsewhere than here it would become visible.
    return key is None or form == "PNG" or (form == "GIF" and image.mode == "P" and isinstance(key, int))


def _check_holds(image: Image.Image, form: str) -> None:
    if _holds(image, form):
        return
    others = {"PNG": ".png", "TIFF": ".tif"}
    fitting = next((name for other, name in others.items() if _holds(image, other)), "another mode")
    transparent = " with transparency" if "transparency" in image.info else ""
    raise ValueError(f"expected a format that holds {image.mode}{transparent}, got {form}: use {fitting}")


def _checked_target(target: Path, overwrite: bool) -> Path:
    if target.is_dir():
        raise ValueError(f"expected a file name, got the folder {str(target)!r}")
    if not overwrite and os.path.lexists(target):
        raise ValueError(
            f"expected a new file, got {str(target)!r}, which exists: pass overwrite to replace it"
        )
    if not target.parent.is_dir():
        raise ValueError(f"expected an existing folder, got {str(target.parent)!r}")
    return Path(os.path.realpath(target))  # write through a link instead of replacing it


def _encode(
    image: Image.Image, form: str, picture: Picture, settings: dict[str, Any] | None
) -> tuple[bytes, list[str]]:
    options: dict[str, Any] = {}
    notes = []
    if form in ("PNG", "JPEG", "WEBP", "TIFF"):
        options["icc_profile"] = picture.icc_profile
        if picture.exif:
            options["exif"] = picture.exif
    elif picture.icc_profile or picture.exif:
        notes.append(f"{form} holds no colour profile and no EXIF: they are not kept")
    if "dpi" in image.info and form in ("PNG", "TIFF", "BMP", "JPEG"):
        options["dpi"] = image.info["dpi"]
    if form == "PNG":
        options["pnginfo"] = _settings_chunk(settings, picture.generated)
    elif settings:
        notes.append(f"the settings are not kept: only PNG holds them, not {form}")
    if form == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
        notes.append("JPEG is lossy: it keeps no pixel exactly")
    elif form == "WEBP":
        options |= {"lossless": True, "exact": True}  # exact: colours under transparent pixels stay too
    elif form == "TIFF":
        options["compression"] = "tiff_lzw" if not picture.exif else None
    elif form == "GIF":
        options["optimize"] = False  # keep the palette as it is
    buffer = io.BytesIO()
    with _quiet():
        try:
            image.save(buffer, form, **options)
        except ValueError:
            if "exif" not in options:
                raise
            del options["exif"]  # JPEG holds at most 64 KB of it
            buffer = io.BytesIO()
            image.save(buffer, form, **options)
            notes.append(f"the EXIF block does not fit into {form} and is not kept")
    return buffer.getvalue(), notes


# Photo metadata of the IPTC: where a picture comes from.
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" Iptc4xmpExt:DigitalSourceType='
    '"http://cv.iptc.org/newscodes/digitalsourcetype/{}"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def source_type(settings: dict[str, Any], generated: bool = False) -> str:
    """The IPTC's term (digital source type) for a picture with these settings of how it was made.

    generated: whether the picture that it was made from was of a trained model altogether.
    """
    if "bits" in settings:  # numbers as colours; no model drew any of it
        return "dataDrivenMedia"
    edits = [settings, *settings.get("earlier", ())]
    if generated or any(
        edit.get("from_nothing") for edit in edits
    ):  # what is drawn over that is no less drawn
        return "trainedAlgorithmicMedia"
    # The term for what a generative model modified, by inpainting or outpainting say. Of a reconstruction too:
    # "algorithmicallyEnhanced" is a correction such as the removal of noise, but here a trained decoder has made up
    # every pixel, and the finer features of a face may be another's.
    return "compositeWithTrainedAlgorithmicMedia"


def _settings_chunk(settings: dict[str, Any] | None, generated: bool) -> PngImagePlugin.PngInfo | None:
    if not settings:
        return None
    chunk = PngImagePlugin.PngInfo()
    chunk.add_text("sundae", json.dumps(settings, sort_keys=True, default=str))
    chunk.add_itxt("XML:com.adobe.xmp", _XMP.format(source_type(settings, generated)))
    return chunk


def read_settings(source: bytes) -> dict[str, Any] | None:
    """The settings in the text chunk "sundae" of a PNG's bytes; None if it is no PNG or holds none."""
    with contextlib.suppress(ValueError, OSError, SyntaxError):
        with Image.open(io.BytesIO(source), formats=("PNG",)) as opened:
            text = opened.info.get("sundae")
        settings = json.loads(text) if isinstance(text, str) else None
        return settings if isinstance(settings, dict) else None
    return None


def _write_atomically(target: Path, data: bytes, overwrite: bool) -> None:
    temporary = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
        if not overwrite and os.path.lexists(target):  # it may have appeared while the picture was encoded
            raise ValueError(
                f"expected a new file, got {str(target)!r}, which exists: pass overwrite to replace it"
            )
        os.replace(temporary, target)
    except OSError as error:
        raise ValueError(f"expected a writable file, got {str(target)!r}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


# -- arrays and tensors --------------------------------------------------------------------------------------


def _checked_rgb(rgb: np.ndarray) -> np.ndarray:
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"expected a uint8 array (H, W, 3), got {rgb.dtype} {rgb.shape}")
    return rgb


def to_tensor(rgb: np.ndarray) -> torch.Tensor:
    """uint8 (H, W, 3) to float32 (1, 3, H, W) in [-1, 1], contiguous."""
    values = torch.from_numpy(np.array(_checked_rgb(rgb)))
    return values.permute(2, 0, 1)[None].contiguous().float() / 127.5 - 1.0


def to_rgb(tensor: torch.Tensor) -> np.ndarray:
    """float (B, 3, H, W) in [-1, 1] (clipped) to uint8 (B, H, W, 3); undoes to_tensor exactly."""
    if tensor.ndim != 4 or tensor.shape[1] != 3:
        raise ValueError(f"expected a tensor (B, 3, H, W), got {tuple(tensor.shape)}")
    values = ((tensor.detach().float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return values.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def resize_rgb(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, 3) to (height, width, 3) for size (width, height), antialiased; a fresh array."""
    height, width = _checked_rgb(rgb).shape[:2]
    if (width, height) == (size[0], size[1]):
        return np.array(rgb)
    # Lanczos keeps detail when shrinking; when enlarging it rings around edges more than bicubic does.
    shrinking = size[0] * size[1] < width * height
    kernel = Image.Resampling.LANCZOS if shrinking else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(np.ascontiguousarray(rgb)).resize((size[0], size[1]), kernel))
