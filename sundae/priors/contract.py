"""What a prior is: a model of token grids that can be trained, sampled and asked how likely tokens are.

SUNDAE (:class:`sundae.hourglass.Hourglass`), absorbing diffusion (:class:`sundae.priors.absorbing.Absorbing`) and
the autoregressive transformer (:class:`sundae.priors.autoregressive.Autoregressive`) stand in for each other
wherever one is asked for: the trainer, the bundles and the inpainter know this class alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sundae.objective import PriorLoss
from sundae.priors.likelihood import bits_per_token
from sundae.sampler import SamplerConfig, SampleStep

PASSES = 8


class Prior(nn.Module, ABC):
    """A model of token grids int64 ``(B, h, w, q)``: q codes below K in each cell.

    Attributes:
        config: its dataclass, with ``codebook_size`` (K), ``depth`` (q), ``grid`` and ``classes``.
        defaults: settings that suit its sampler.
        corrupts: whether :meth:`corrupt` does anything; a corruption rate means nothing to a prior without noise.
        exact: whether :meth:`bits` is the likelihood itself and not a bound on it.
        revises: whether a cell that is drawn may be drawn again in a later step, so that more steps have a meaning.
    """

    config: Any
    defaults: SamplerConfig
    corrupts: ClassVar[bool] = True
    exact: ClassVar[bool] = False
    revises: ClassVar[bool] = True

    @property
    def codebook_size(self) -> int:
        """K."""
        return self.config.codebook_size

    @property
    def depth(self) -> int:
        """q."""
        return self.config.depth

    def settings_for(self, cells: int) -> SamplerConfig:
        """Settings that suit the sampler on a grid of so many cells."""
        return self.defaults

    @abstractmethod
    def start_from_codebooks(self, codebooks: Tensor, frequencies: Tensor) -> None:
        """Begin with what the tokenizer knows: its code vectors ``(q, K, e)`` and the share of each code in the
        training tokens ``(q, K)``."""

    @abstractmethod
    def hidden(self, tokens: Tensor, known: Tensor, labels: Tensor | None = None) -> Tensor:
        """Features ``(B, h, w, width)`` of every cell.

        Args:
            tokens: int64 ``(B, h, w, q)``.
            known: bool ``(B, h, w)``, True where the token is certain.
            labels: int64 ``(B,)``, or what else the prior can be conditioned on.

        Raises:
            ValueError: if a shape or a label is wrong.
        """

    @abstractmethod
    def logits(self, hidden: Tensor, current: Tensor, prefix: Tensor) -> Tensor:
        """Logits ``(N, K)`` of the next code of N chosen cells.

        Args:
            hidden: ``(N, width)`` features of the cells.
            current: int64 ``(N, q)`` codes now in them.
            prefix: int64 ``(N, j)`` codes already drawn for them.
        """

    @staticmethod
    @abstractmethod
    def corrupt(
        tokens: Tensor,
        token_mask: Tensor,
        rate: Tensor,
        codebook_size: int,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The training noise: int64 ``(B, h, w, q)`` tokens in whose hidden cells about a share ``rate`` is lost.

        Static, so that loader processes can do it without the network.

        Args:
            tokens: int64 ``(B, h, w, q)`` clean tokens.
            token_mask: bool ``(B, h, w)``, True = may be lost.
            rate: float ``(B,)`` in [0, 1].
            codebook_size: K.
            generator: source of the random numbers; torch's own by default.
        """

    @abstractmethod
    def loss(
        self,
        tokens: Tensor,
        corrupted: Tensor,
        token_mask: Tensor,
        uniforms: Tensor,
        weights: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> PriorLoss:
        """What training minimises. All chance comes in through the arguments.

        Args:
            tokens: int64 ``(B, h, w, q)`` clean tokens.
            corrupted: the same from :meth:`corrupt`.
            token_mask: bool ``(B, h, w)``, True = hidden; the others are given.
            uniforms: float ``(B, T - 1, h, w, q)`` in [0, 1), for priors whose chain is unrolled T steps.
            weights: ``(N,)`` of the N hidden cells in row-major order; by default 1 / N, the mean.
            labels: as :meth:`hidden`.
        """

    @abstractmethod
    def sample(
        self,
        tokens: Tensor,
        token_mask: Tensor,
        config: SamplerConfig,
        seeds: int | Sequence[int],
        batch_size: int = 1,
        labels: Sequence[int] | Tensor | None = None,
        uncertainty: bool = False,
    ) -> Iterator[SampleStep]:
        """Rewrite the hidden tokens; yields the noised start and then every update.

        Known tokens never change. A sample depends on its own seed alone; at a ``batch_size`` of 1 bit for bit.

        Args:
            tokens: int64 ``(1, h, w, q)`` shared by all samples, or ``(B, h, w, q)``.
            token_mask: bool, ``(1, h, w)`` or ``(B, h, w)``, True = rewrite.
            config: settings of the run.
            seeds: one per sample, B of them.
            batch_size: samples that pass through the network together.
            labels: one per sample; by default none is asked for.
            uncertainty: tell of each step how unsure the prior was of each cell when it last drew it: float32
                ``(B, h, w)`` bits per token, the mean entropy of its own distributions of the cell's codes, from 0
                to log2(K). NaN where it has drawn nothing yet: in known cells, and in those that still are noise.
                The samples are the same bit for bit.

        Raises:
            ValueError: if a shape, seed, label or setting is wrong, or the logits are not finite.
        """

    @abstractmethod
    def surprise(
        self,
        tokens: Tensor,
        token_mask: Tensor,
        seeds: int | Sequence[int] = 0,
        passes: int = PASSES,
        labels: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """How unexpected each hidden token is, given those that are not hidden.

        Its mean over hidden cells is the negative log-likelihood of the hidden tokens in bits per token, or an
        upper bound on it; a uniform prior gives log2(K). A token is one code: the codes of a cell are averaged.

        Args:
            tokens: int64 ``(B, h, w, q)``, or ``(1, h, w, q)`` for several estimates of one grid.
            token_mask: bool ``(B, h, w)`` or ``(1, h, w)``, True = hidden. All True for whole pictures.
            seeds: one per sample, of the noise in a bound, or the first of them; an exact likelihood has none.
            passes: how often the network is asked for a bound; an exact likelihood takes one.
            labels: one per sample; by default none is asked for.

        Returns:
            float32 ``(B, h, w)`` bits, 0 where nothing is hidden.

        Raises:
            ValueError: as :meth:`sample`, or for ``passes`` below 1.
        """

    def bits(
        self,
        tokens: Tensor,
        token_mask: Tensor,
        seeds: int | Sequence[int] = 0,
        passes: int = PASSES,
        labels: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """Negative log-likelihood of the hidden tokens in bits per token, or a bound: float32 ``(B,)``. Arguments
        and errors are those of :meth:`surprise`."""
        return bits_per_token(self.surprise(tokens, token_mask, seeds, passes, labels), token_mask)
