"""sundae.objective: what is corrupted, the loss by hand, and an unrolled chain that gradients do not follow."""

import math

import pytest
import torch
from tiny import Fake, Keep, Oracle, Uniform, tiny_prior

from sundae.objective import corrupt, hole_weights, unrolled_loss


def test_corruption_has_its_rate_and_replaces_whole_cells():
    torch.manual_seed(0)
    tokens = torch.zeros(3, 60, 60, 2, dtype=torch.int64)
    mask = torch.rand(3, 60, 60) < 0.6
    rate = torch.tensor([0.0, 0.3, 1.0])
    noisy = corrupt(tokens, mask, rate, 1000)
    changed = (noisy != tokens).any(-1)
    assert not bool((changed & ~mask).any())
    for b in range(3):
        share = float(changed[b][mask[b]].float().mean())
        assert share == pytest.approx(
            float(rate[b]), abs=4 * math.sqrt(0.25 / 2100) * float(0 < rate[b] < 1) + 1e-3
        )
    both = (noisy != tokens).all(-1)
    assert (
        float((changed & ~both).sum()) / float(changed.sum()) < 0.01
    )  # a code may fall on itself, 1 in 1000


def test_corruption_is_uniform_over_codes():
    torch.manual_seed(1)
    tokens = torch.full((1, 80, 100, 2), 3)
    noisy = corrupt(tokens, torch.ones(1, 80, 100, dtype=torch.bool), torch.ones(1), 8)
    for j in range(2):
        counts = torch.bincount(noisy[..., j].flatten(), minlength=8).double()
        assert float(((counts - 1000) ** 2 / 1000).sum()) < 30  # chi-square, 7 degrees: 1 in 10,000
    assert abs(float(torch.corrcoef(noisy.view(-1, 2).t().double())[0, 1])) < 0.05


def chain(denoiser, tokens, mask, rate: float, steps: int, **extra):
    """The loss of ``steps`` steps from tokens corrupted at ``rate``."""
    corrupted = corrupt(tokens, mask, torch.full((len(tokens),), rate), denoiser.codebook_size)
    uniforms = torch.rand(len(tokens), steps - 1, *tokens.shape[1:])
    return unrolled_loss(denoiser, tokens, corrupted, mask, uniforms, **extra)


class Table(Fake):
    """The same logits ``(q, K)`` for every cell."""

    def __init__(self, table: torch.Tensor):
        super().__init__(table.shape[1], table.shape[0])
        self.table, self.states, self.gradients = table, [], []

    def hidden(self, tokens, known):
        self.states.append((tokens.clone(), known.clone()))
        return tokens.float()

    def logits(self, hidden, current, prefix):
        self.gradients.append(torch.is_grad_enabled())
        return self.table[prefix.shape[1]].expand(len(hidden), -1)


def test_loss_is_the_one_by_hand():
    """Two hidden cells (1, 0) and (2, 2), and a known one that must not count."""
    table = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, math.log(2)]])
    tokens = torch.tensor([[[[1, 0], [2, 2], [0, 1]]]])
    mask = torch.tensor([[[True, True, False]]])
    result = chain(Table(table), tokens, mask, 1.0, 3)
    normaliser = math.log(math.exp(1) + math.exp(2) + math.exp(3))
    first = ((normaliser - 2) + (normaliser - 3)) / 2
    second = (math.log(4) + math.log(2)) / 2
    assert result.by_code.tolist() == pytest.approx([first, second], rel=1e-5)
    assert float(result.loss) == pytest.approx((first + second) / 2, rel=1e-5)
    assert [float(loss) for loss in result.by_unroll] == pytest.approx([(first + second) / 2] * 3, rel=1e-5)
    assert float(result.accuracy) == pytest.approx(0.5)  # codes 2 and 2 of the second cell


def test_uniform_and_oracle_set_the_scale():
    tokens = torch.randint(16, (2, 4, 5, 2))
    mask = torch.rand(2, 4, 5) < 0.7
    uniform = chain(Uniform(), tokens, mask, 1.0, 2)
    assert float(uniform.loss) == pytest.approx(math.log(16), rel=1e-5)
    oracle = chain(Oracle(tokens[:1]), tokens[:1], mask[:1], 1.0, 2)
    assert float(oracle.loss) == 0
    assert float(oracle.accuracy) == 1


def test_each_unroll_sees_a_sample_of_the_one_before():
    """Certain logits: the second state must be those codes inside the hole and the truth outside it."""
    sure = 1e4 * torch.nn.functional.one_hot(torch.tensor([2, 1]), 3).float()
    denoiser, tokens = Table(sure), torch.zeros(1, 4, 4, 2, dtype=torch.int64)
    mask = torch.zeros(1, 4, 4, dtype=torch.bool)
    mask[0, 1:3, 1:] = True
    chain(denoiser, tokens, mask, 0.0, 3)
    (first, known), (second, _), (third, _) = denoiser.states
    assert torch.equal(first, tokens)
    assert torch.equal(known, ~mask)
    for state in (second, third):
        assert torch.equal(state[mask], torch.tensor([2, 1]).expand(6, 2))
        assert torch.equal(state[~mask], tokens[~mask])


def test_samples_are_drawn_without_a_graph():
    """Two logits a step for the loss, two more for the sample, which need no gradient."""
    denoiser = Table(torch.zeros(2, 3))
    tokens, mask = torch.zeros(1, 2, 2, 2, dtype=torch.int64), torch.ones(1, 2, 2, dtype=torch.bool)
    chain(denoiser, tokens, mask, 1.0, 2)
    assert denoiser.gradients == [True, True, False, False, True, True]


def test_gradient_is_the_mean_of_the_steps_alone():
    torch.manual_seed(3)
    model, seen = tiny_prior(), []
    tokens, mask = torch.randint(16, (2, 4, 5, 2)), torch.rand(2, 4, 5) < 0.5
    hidden = model.hidden
    model.hidden = lambda state, known: (seen.append(state.clone()), hidden(state, known))[1]
    chain(model, tokens, mask, 0.7, 2).loss.backward()
    together = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    truth = tokens[mask]
    for state in seen:
        features = hidden(state, ~mask)[mask]
        for j in range(2):
            logits = model.logits(features, state[mask], truth[:, :j])
            (torch.nn.functional.cross_entropy(logits, truth[:, j]) / 4).backward(retain_graph=True)
    assert len(seen) == 2
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, together[name], atol=1e-5), name


def test_clean_tokens_are_not_written_to():
    tokens, mask = torch.randint(16, (1, 3, 3, 2)), torch.ones(1, 3, 3, dtype=torch.bool)
    before = tokens.clone()
    chain(Keep(), tokens, mask, 1.0, 3)
    assert torch.equal(tokens, before)


def test_chain_is_drawn_from_the_given_numbers_alone():
    """Codes 0, 1, 2 have probabilities 1/4, 1/4, 1/2: the numbers 0.1, 0.3 and 0.7 fall on one each."""
    denoiser = Table(torch.tensor([[0.0, 0.0, math.log(2)]]))
    tokens, mask = torch.zeros(1, 1, 3, 1, dtype=torch.int64), torch.ones(1, 1, 3, dtype=torch.bool)
    uniforms = torch.tensor([0.1, 0.3, 0.7]).view(1, 1, 1, 3, 1)
    unrolled_loss(denoiser, tokens, tokens, mask, uniforms)
    assert denoiser.states[1][0].flatten().tolist() == [0, 1, 2]


def test_weights_of_holes_by_hand():
    """Holes of 1 and 4 cells: every cell alike, every picture alike, or between."""
    mask = torch.zeros(2, 2, 2, dtype=torch.bool)
    mask[0, 0, 0] = mask[1] = True
    assert hole_weights(mask, 0.0).tolist() == [1, 1, 1, 1, 1]
    assert hole_weights(mask, 1.0).tolist() == [1, 0.25, 0.25, 0.25, 0.25]
    assert hole_weights(mask, 0.5).tolist() == [1, 0.5, 0.5, 0.5, 0.5]


def test_weighted_loss_by_hand():
    table = torch.tensor([[0.0, math.log(3)]])  # -log p: log 4 for code 0, log 4/3 for code 1
    tokens, mask = torch.tensor([0, 1]).view(1, 1, 2, 1), torch.ones(1, 1, 2, dtype=torch.bool)
    result = chain(Table(table), tokens, mask, 1.0, 1, weights=torch.tensor([0.25, 0.75]))
    assert float(result.loss) == pytest.approx(0.25 * math.log(4) + 0.75 * math.log(4 / 3), rel=1e-5)
    assert float(result.accuracy) == pytest.approx(0.75)
