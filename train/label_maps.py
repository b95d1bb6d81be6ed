"""Label maps: a class for every pixel of a picture, brought to its token grid.

A map goes where its picture goes: the same square is cut from it, the same variations move it and the same mirror
turns it, each pixel taking the nearest one's class, since the mean of two classes is none. A cell of the token grid
then has the class that most of its pixels have.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from train.data import PictureSource, nearest, square_box

MODES = ("L", "P", "I;16")
SCALED = ("L;2", "L;4")  # files of few bits whose values Pillow spreads over 0..255


class LabelMaps:
    """The maps of a source's pictures, uint16 ``(size, size)`` with values below ``classes``.

    The map of the picture ``a/b.jpg`` is ``a/b.png`` in ``folder``: one channel of 8 or 16 bits or palette indices,
    of the upright picture's size or in proportion to it.

    Raises:
        ValueError: if a picture has no map. Reading one raises it for a map of another kind or shape, or with a
            value that is no class.
    """

    def __init__(self, folder: Path, source: PictureSource, classes: int, size: int):
        names = [Path(source.name(i)).with_suffix(".png") for i in range(len(source))]
        self.files = [folder / name for name in names]
        missing = [file for file in self.files if not file.is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(
                f"expected a label map for each of {len(names)} pictures, found none at {missing[0]}{more}"
            )
        self.source, self.classes, self.size = source, classes, size

    def __getitem__(self, index: int) -> np.ndarray:
        file, (width, height) = self.files[index], self.source.extent(index)
        labels = read_map(file)
        if labels.shape[1] * height != labels.shape[0] * width:
            raise ValueError(
                f"expected a label map of {width}x{height} px or in proportion, "
                f"got {labels.shape[1]}x{labels.shape[0]} px in {file}"
            )
        if labels.max() >= self.classes:
            raise ValueError(f"expected label map values below {self.classes}, got {labels.max()} in {file}")
        left, top, right, bottom = (side * labels.shape[0] / height for side in square_box(width, height))
        return nearest(labels, (left, top, right, bottom), self.size, self.size).astype(np.uint16)


def read_map(file: Path) -> np.ndarray:
    """The values of a PNG of classes, ``(H, W)``; ValueError if it is none."""
    try:
        with Image.open(file, formats=["PNG"]) as picture:
            mode, stored = picture.mode, str(picture.tile[0][3])
            values = np.asarray(picture)
    except Exception as error:  # decoders raise nearly every exception there is on damaged data
        raise ValueError(f"expected a label map as PNG in {file}: {error}") from None
    if mode not in MODES or stored in SCALED:
        raise ValueError(
            f"expected a label map with one channel of 8 or 16 bits ({', '.join(MODES)}), got {stored} in {file}"
        )
    return values


def majority(labels: np.ndarray, factor: int) -> np.ndarray:
    """The most frequent class in each cell of ``factor x factor`` pixels, the lowest where several are:
    ``(H, W)`` to ``(H / factor, W / factor)``."""
    h, w = labels.shape[0] // factor, labels.shape[1] // factor
    cells = labels.reshape(h, factor, w, factor)
    winner, most = np.zeros((h, w), labels.dtype), np.zeros((h, w), np.int64)
    for label in np.unique(labels):
        count = (cells == label).sum((1, 3))
        winner[count > most] = label
        most = np.maximum(most, count)
    return winner
