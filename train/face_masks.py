"""The six holes of the evaluation on photographs: where an aligned face has its parts.

Positions are those of FFHQ's alignment (Karras et al. 2019), read off the mean of the faces this was made with: eyes
at (383, 480) and (641, 480) of 1024 px, mouth around (512, 760), hairline near 150, chin near 940. A turned head or a
hat moves what lies under a mask; the masks stay.
"""

from __future__ import annotations

import numpy as np

SIZE = 1024  # px, of the positions below
CENTRE = 512
EYES = ((383, 465), (641, 465))  # x and y; a little above the pupils, so that lids and brows are in
EYE_RADII = (115, 90)
MOUTH, MOUTH_RADII = (512, 762), (165, 95)
HEAD, HEAD_RADII = (512, 440), (410, 460)  # to the outline of usual hair
FACE, FACE_RADII = (512, 560), (262, 410)  # inside the hairline
HAIR_BOTTOM = 500  # y down to which hair is cut away
HALF, HALF_RADII = (512, 530), (305, 425)  # forehead to chin, ear to ear
SQUARE = 192  # half of the centre square's side


def face_masks(size: int) -> dict[str, np.ndarray]:
    """Holes for an aligned face of ``size`` px: name -> bool (size, size), True = repaint.

    Keys: mouth, one_eye (the right one in the picture), both_eyes, hair (what frames the face above the eyes),
    half_face (the right half) and centre_square.
    """
    y, x = (np.mgrid[:size, :size] + 0.5) * (SIZE / size)
    left, right = (within(x, y, eye, EYE_RADII, 4) for eye in EYES)
    head, face = within(x, y, HEAD, HEAD_RADII), within(x, y, FACE, FACE_RADII)
    return {
        "mouth": within(x, y, MOUTH, MOUTH_RADII),
        "one_eye": right,
        "both_eyes": left | right,
        "hair": head & ~face & (y < HAIR_BOTTOM),
        "half_face": within(x, y, HALF, HALF_RADII) & (x >= CENTRE),
        "centre_square": (np.abs(x - CENTRE) <= SQUARE) & (np.abs(y - CENTRE) <= SQUARE),
    }


def within(
    x: np.ndarray, y: np.ndarray, centre: tuple[int, int], radii: tuple[int, int], power: int = 2
) -> np.ndarray:
    """Where ``|dx / rx|^p + |dy / ry|^p <= 1``: an ellipse, or with a power of 4 nearly its box."""
    across, down = (x - centre[0]) / radii[0], (y - centre[1]) / radii[1]
    return np.abs(across) ** power + np.abs(down) ** power <= 1
