"""What a run knows of its cells, step by step, as the page draws it: how unsure the prior was, and when each changed.

A byte for each hidden cell and not a picture: the page has the grid, draws the cells itself, and at a choice again.
"""

from __future__ import annotations

import base64
import json
import math

import numpy as np
from torch import Tensor

from page.events import Event
from sundae.measure import heat_colours
from sundae.pipeline import Frame, Prepared
from sundae.sampler import last_change

UNKNOWN = 255  # of uncertainty: the prior has not drawn the cell yet


def heat_script() -> str:
    """The colours, dark to light, as ``heat.js`` finds them."""
    return f"const HEAT = {json.dumps(['#' + bytes(colour).hex() for colour in heat_colours()])};"


class Heat:
    """Follows one run; every step of it must come by."""

    def __init__(self, prepared: Prepared) -> None:
        self.prepared = prepared
        self.hidden = prepared.token_mask[0].cpu()
        self.most = math.log2(prepared.model.tokenizer.config.codebook_size)  # bits of knowing nothing
        self._when: Tensor | None = None

    def step(self, frame: Frame) -> Event:
        """Of this step, one text for each candidate: ``changed``, the step in which each hidden cell last changed,
        and ``unsure``, 0 to 254 for 0 to all bits, or None if the prior does not tell. With the first step comes
        the ``grid`` that the cells are of."""
        self._when = last_change(frame.step, self._when)
        unsure = frame.step.uncertainty
        heat: Event = {
            "changed": [packed(values.numpy()) for values in self._when.cpu()[:, self.hidden]],
            "unsure": None if unsure is None else [self._bits(values) for values in unsure.cpu()],
        }
        return heat if frame.index else {**heat, "grid": self.grid}

    @property
    def grid(self) -> Event:
        """Where the cells lie: the working window in px of the picture, its rows and columns, a byte for each cell
        that says whether it is hidden, and the most bits that a token can have."""
        rows, columns = self.hidden.shape
        box = self.prepared.window.box
        return {
            "box": [box.left, box.top, box.width, box.height],
            "rows": rows,
            "columns": columns,
            "hidden": packed(self.hidden.flatten().numpy()),
            "most": self.most,
        }

    def _bits(self, unsure: Tensor) -> str:
        bits = unsure[self.hidden].numpy()
        scaled = np.rint(np.nan_to_num(bits) * (UNKNOWN - 1) / self.most)
        return packed(np.where(np.isnan(bits), UNKNOWN, scaled))


def packed(values: np.ndarray) -> str:
    """Numbers from 0 to 255 as a text of bytes in base 64."""
    return base64.b64encode(values.astype(np.uint8).tobytes()).decode("ascii")
