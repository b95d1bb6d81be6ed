"""What every SUNDAE prior shares, whatever its network: the training noise, the unrolled loss, the sampler, the bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from sundae.canvas import over_grid
from sundae.objective import PriorLoss, corrupt, unrolled_loss
from sundae.priors.contract import PASSES, Prior
from sundae.priors.likelihood import chain_surprise
from sundae.sampler import SamplerConfig, SampleStep, sample


class ChainPrior(Prior):
    """A step-unrolled denoising autoencoder (McKinney & Willcocks 2022); a subclass adds the network."""

    corrupt = staticmethod(corrupt)

    def loss(
        self,
        tokens: Tensor,
        corrupted: Tensor,
        token_mask: Tensor,
        uniforms: Tensor,
        weights: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> PriorLoss:
        """The unrolled loss; see :func:`sundae.objective.unrolled_loss`."""
        return unrolled_loss(self, tokens, corrupted, token_mask, uniforms, weights, labels)

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
        """Rewrite the hidden tokens, all at once in every step; see :func:`sundae.sampler.sample`. On a grid larger
        than the prior's own by windows, ``batch_size`` of them together; see :class:`sundae.canvas.Canvas`."""
        denoiser = over_grid(self, self.config.grid, tokens, config, batch_size)
        return sample(denoiser, tokens, token_mask, config, seeds, batch_size, labels, uncertainty)

    def surprise(
        self,
        tokens: Tensor,
        token_mask: Tensor,
        seeds: int | Sequence[int] = 0,
        passes: int = PASSES,
        labels: Sequence[int] | Tensor | None = None,
    ) -> Tensor:
        """The bound of a chain of up to ``passes`` steps; see :func:`sundae.priors.likelihood.chain_surprise`."""
        return chain_surprise(self, tokens, token_mask, seeds, passes, labels)
