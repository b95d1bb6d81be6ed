"""The steps of a run, kept so that a film can be made of them later.

Tokens are kept, and decoded again when a film is asked for, which few visitors do. The frames that the page has are
JPEG crops in the browser, and browsers write no animations; decoded frames would take megabytes here for each step,
and another run the prior's time. Of the hidden cells alone, in the fewest bytes, all steps of a hidden mouth take some
kilobytes, and those of eight whole faces two megabytes: less than the picture that they were drawn in.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from sundae import films
from sundae.pipeline import Frame, Prepared
from sundae.sampler import SampleStep

MOST = 16_000_000  # bytes of one run: only pictures far larger than a model's own come near


class Trail:
    """The tokens of a run, step by step; nothing of a run that is too large."""

    def __init__(self, prepared: Prepared) -> None:
        self._hidden = prepared.token_mask[0].cpu()
        self._type = np.min_scalar_type(prepared.model.tokenizer.config.codebook_size - 1)
        self._steps: list[np.ndarray] = []  # (B, n, q) each
        self.bytes = 0

    def add(self, step: SampleStep) -> None:
        tokens = step.tokens.cpu()[:, self._hidden].numpy().astype(self._type)
        self.bytes += tokens.nbytes
        self._steps = [*self._steps, tokens] if self.bytes <= MOST else []

    def states(self, last: Tensor, sample: int) -> Iterator[Tensor]:
        """Tokens int64 ``(h, w, q)`` of every step of a sample, whose ``last`` have this shape."""
        for tokens in self._steps:
            state = last.clone()
            state[self._hidden] = torch.from_numpy(tokens[sample].astype(np.int64)).to(last)
            yield state

    def film(
        self, frame: Frame, sample: int, form: str, region: bool
    ) -> tuple[int, Generator[Image, None, None]]:
        """How many pictures a film of the run has, and the pictures, decoded as they are fetched; ``frame`` is its last.

        Raises:
            ValueError: if it was too large to be kept, or as :func:`sundae.film`.
        """
        if not self._steps:
            raise ValueError("This was too large for a film.")
        films.check_format(form)
        states = self.states(frame.step.tokens[sample], sample)
        return len(self._steps), films.pictures(frame.prepared, states, region)
