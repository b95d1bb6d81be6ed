"""sundae.priors.absorbing: what is masked, the two losses by hand, the bound by enumeration, and an oracle's samples."""

import dataclasses
import itertools
import math

import pytest
import torch
from tiny import ABSORBING, tiny_absorbing

from sundae.priors.absorbing import Absorbing, absorb
from sundae.priors.likelihood import cell_bits
from sundae.sampler import SamplerConfig

MASK = ABSORBING.codebook_size
JOINT = torch.tensor([[0.30, 0.05, 0.02], [0.03, 0.25, 0.05], [0.10, 0.05, 0.15]]).double()  # of two cells


def holes(batch: int, h: int, w: int, share: float = 0.6) -> torch.Tensor:
    mask = torch.rand(batch, h, w, generator=torch.Generator().manual_seed(9)) < share
    mask[:, 0, 0] = True
    return mask


def nothing(tokens: torch.Tensor) -> torch.Tensor:
    """The chain of a prior that is not unrolled."""
    return torch.empty(len(tokens), 0, *tokens.shape[1:])


class Table(Absorbing):
    """The same logits ``(q, K)`` for every cell; remembers what it was shown."""

    def __init__(self, table: torch.Tensor, weighting: str = "reweighted"):
        config = dataclasses.replace(ABSORBING, codebook_size=table.shape[1], depth=len(table), grid=(20, 20))
        super().__init__(dataclasses.replace(config, weighting=weighting))
        self.table, self.seen = table, []

    def hidden(self, tokens, known, labels=None):
        self.seen.append((tokens.clone(), known.clone()))
        return tokens.float()

    def logits(self, hidden, current, prefix):
        return self.table[prefix.shape[1]].expand(len(hidden), -1)


class Oracle(Absorbing):
    """Knows the chances of two cells: the second given the first where that is there, else alone; and the reverse."""

    def __init__(self):
        shape = {"codebook_size": 3, "depth": 1, "grid": (1, 2)}
        super().__init__(dataclasses.replace(ABSORBING, **shape))

    def hidden(self, tokens, known, labels=None):
        first, second = tokens[:, 0, 0, 0], tokens[:, 0, 1, 0]
        given_second, given_first = JOINT.T[second.clamp(max=2)], JOINT[first.clamp(max=2)]
        one = torch.where((second == 3)[:, None], JOINT.sum(1), given_second)
        two = torch.where((first == 3)[:, None], JOINT.sum(0), given_first)
        return torch.stack([one, two], 1)[:, None]

    def logits(self, hidden, current, prefix):
        return hidden.log()


# -- noise ---------------------------------------------------------------------------------------------------


def test_a_share_of_the_hidden_cells_is_masked_whole_and_nothing_else():
    tokens, mask = torch.randint(16, (4, 6, 7, 2)), holes(4, 6, 7)
    rates = torch.tensor([0.0, 0.01, 0.5, 1.0])
    noisy = absorb(tokens, mask, rates, MASK)
    masked = (noisy == MASK).all(-1)
    assert torch.equal(masked, (noisy == MASK).any(-1))
    assert torch.equal(noisy[~masked], tokens[~masked])
    assert not bool((masked & ~mask).any())
    hidden = mask.sum((1, 2))
    wanted = [0, 1, math.ceil(0.5 * int(hidden[2])), int(hidden[3])]
    assert masked.sum((1, 2)).tolist() == wanted


def test_uniform_rates_make_times_uniform_and_cells_are_chosen_evenly():
    torch.manual_seed(0)
    tokens = torch.zeros(6000, 2, 3, 1, dtype=torch.int64)
    masked = absorb(tokens, torch.ones(6000, 2, 3, dtype=torch.bool), torch.rand(6000), 5)[..., 0] == 5
    times = torch.bincount(masked.sum((1, 2)), minlength=7).double()
    assert times[0] == 0
    assert float(((times[1:] - 1000) ** 2 / 1000).sum()) < 26  # chi-square, 5 degrees: 1 in 10,000
    assert float((masked.float().mean(0) - 3.5 / 6).abs().max()) < 0.03


# -- loss ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighting", ["reweighted", "elbo"])
def test_loss_is_the_one_by_hand(weighting):
    """Of three hidden cells two are masked, one with a likely and one with an unlikely code; two more are known."""
    prior = Table(
        torch.tensor([[0.0, math.log(3)]]), weighting
    )  # -log p: log 4 for code 0, log 4/3 for code 1
    tokens = torch.tensor([0, 1, 1, 0, 1]).view(1, 1, 5, 1)
    mask = torch.tensor([[[True, True, True, False, False]]])
    corrupted = tokens.clone()
    corrupted[0, 0, :2] = 2
    result = prior.loss(tokens, corrupted, mask, nothing(tokens))
    both = math.log(4) + math.log(4 / 3)
    bound = 3 / 2 * both / 3  # n / t, and the mean over n
    assert result.by_code.tolist() == pytest.approx([bound], rel=1e-5)
    assert float(result.accuracy) == pytest.approx(0.5)
    scale = 6 * 3**2 / (4 * 5)  # such that times are worth 1 on average
    reweighted = scale * (3 - 2 + 1) / 3 * both / 3
    assert float(result.loss) == pytest.approx({"elbo": bound, "reweighted": reweighted}[weighting], rel=1e-5)
    ((state, known),) = prior.seen
    assert torch.equal(state, corrupted)
    assert torch.equal(known, ~mask)


@pytest.mark.parametrize("weighting", ["reweighted", "elbo"])
@pytest.mark.parametrize("cells", [1, 2, 7])
def test_a_network_that_knows_nothing_has_the_loss_log_k(weighting, cells):
    """Averaged over all times; each cell weighs as it is asked to."""
    prior, losses = Table(torch.zeros(2, 5), weighting), []
    tokens = torch.randint(5, (1, 1, 9, 2))
    mask = torch.arange(9).view(1, 1, 9) < cells
    weights = torch.rand(cells)
    for time in range(1, cells + 1):
        chosen = torch.full((3000,), time / cells)
        corrupted = absorb(tokens.expand(3000, -1, -1, -1), mask.expand(3000, -1, -1), chosen, 5)
        many = weights.repeat(3000) / 3000
        result = prior.loss(
            tokens.expand(3000, -1, -1, -1), corrupted, mask.expand(3000, -1, -1), nothing(corrupted), many
        )
        losses.append(float(result.loss))
    assert sum(losses) / cells == pytest.approx(math.log(5) * float(weights.sum()), rel=0.03)


def test_reweighting_favours_what_is_nearly_done():
    """(T - t + 1) / T of a cell's loss at time t, where the bound has 1 / t: times T, from 1 down against from T."""
    tokens, mask = torch.zeros(1, 1, 4, 1, dtype=torch.int64), torch.ones(1, 1, 4, dtype=torch.bool)
    found = {}
    for weighting in ("reweighted", "elbo"):
        prior = Table(torch.zeros(1, 3), weighting)
        states = [tokens.clone() for _ in range(4)]
        for time, state in enumerate(states, 1):
            state[0, 0, :time] = 3
        losses = [float(prior.loss(tokens, state, mask, nothing(tokens)).loss) for state in states]
        found[weighting] = [loss / time for time, loss in enumerate(losses, 1)]
    ratios = [value / found["reweighted"][-1] for value in found["reweighted"]]
    assert ratios == pytest.approx([4, 3, 2, 1], rel=1e-5)
    assert [value / found["elbo"][-1] for value in found["elbo"]] == pytest.approx([4, 2, 4 / 3, 1], rel=1e-5)


def test_every_parameter_learns_the_mask_code_too():
    torch.manual_seed(0)
    prior = tiny_absorbing(dataclasses.replace(ABSORBING, classes=3))
    tokens, mask = torch.randint(16, (4, 5, 7, 2)), holes(4, 5, 7)
    corrupted = prior.corrupt(tokens, mask, torch.tensor([0.2, 0.5, 0.8, 1.0]), 16)
    prior.loss(tokens, corrupted, mask, nothing(tokens), labels=torch.tensor([0, 1, 2, 3])).loss.backward()
    idle = [
        name for name, p in prior.named_parameters() if p.grad is None or not float(p.grad.abs().max()) > 0
    ]
    assert not idle
    for table in prior.embed:
        assert table.weight.shape[0] == 17
        assert float(table.weight.grad[MASK].abs().max()) > 0
    assert prior.head.classifiers[0].weight.shape[0] == 16


def test_codebooks_leave_the_mask_code_alone():
    prior = tiny_absorbing()
    before = [table.weight[MASK].clone() for table in prior.embed]
    prior.start_from_codebooks(torch.randn(2, 16, 4), torch.full((2, 16), 1 / 16))
    for table, row in zip(prior.embed, before, strict=True):
        assert torch.equal(table.weight[MASK], row)
        assert 0.2 < float(table.weight[:MASK].detach().std()) < 0.6


def test_an_unknown_weighting_is_refused():
    with pytest.raises(ValueError, match=r"^expected weighting to be one of reweighted, elbo, got 'simple'$"):
        dataclasses.replace(ABSORBING, weighting="simple")


# -- likelihood ----------------------------------------------------------------------------------------------


def test_the_bound_is_the_mean_over_all_orders():
    """Three hidden cells: the chain rule along each of six orders, and each time with each set of masked cells."""
    prior = tiny_absorbing(dataclasses.replace(ABSORBING, weighting="elbo")).requires_grad_(False)
    tokens = torch.randint(16, (1, 2, 2, 2), generator=torch.Generator().manual_seed(1))
    mask = torch.tensor([[[True, True], [False, True]]])
    places = mask[0].nonzero().tolist()

    def state(masked) -> tuple[torch.Tensor, torch.Tensor]:
        cells = torch.zeros_like(mask)
        for row, column in masked:
            cells[0, row, column] = True
        return tokens.masked_fill(cells[..., None], MASK), cells

    chain = 0.0
    for order in itertools.permutations(places):
        for i in range(3):
            seen, _ = state(order[i:])
            _, asked = state(order[i : i + 1])
            chain += float(cell_bits(prior, seen, ~mask, asked, tokens).sum()) / 3 / 6
    times = []
    for time in (1, 2, 3):
        sets = [state(chosen)[0] for chosen in itertools.combinations(places, time)]
        losses = [float(prior.loss(tokens, seen, mask, nothing(tokens)).loss) for seen in sets]
        times.append(sum(losses) / len(losses) / math.log(2))
    assert sum(times) / 3 == pytest.approx(chain, rel=1e-5)
    seeds = list(range(600))
    for measured in (
        prior.bits(tokens, mask, seeds, 6),
        prior.bits(tokens, mask, seeds, 1),
        prior.surprise(tokens, mask, seeds, 3)[:, mask[0]].mean(1),
        prior.surprise(tokens, mask, seeds, 50)[:, mask[0]].mean(1),
    ):
        error = float(measured.std()) / len(seeds) ** 0.5
        assert float(measured.mean()) == pytest.approx(chain, abs=4.5 * error + 1e-5)


def test_the_bound_of_an_oracle_is_exact_and_that_of_one_pass_is_of_single_cells():
    pairs = torch.tensor(list(itertools.product(range(3), repeat=2)))
    tokens, mask = pairs.view(-1, 1, 2, 1), torch.ones(9, 1, 2, dtype=torch.bool)
    prior, seeds = Oracle(), list(range(9))
    exact = -JOINT[pairs[:, 0], pairs[:, 1]].log2() / 2
    assert torch.allclose(prior.surprise(tokens, mask, seeds, 2).mean((1, 2)).double(), exact, atol=1e-6)
    alone = -(JOINT.sum(1)[pairs[:, 0]] * JOINT.sum(0)[pairs[:, 1]]).log2() / 2
    assert torch.allclose(prior.surprise(tokens, mask, seeds, 1).mean((1, 2)).double(), alone, atol=1e-6)
    chances = JOINT.flatten()
    assert float(chances @ alone) > float(chances @ exact) + 0.05


def test_a_map_asks_for_each_cell_once_however_many_passes():
    prior = Table(torch.tensor([[0.0, math.log(3)]]))
    tokens = torch.randint(2, (2, 3, 4, 1))
    mask = holes(2, 3, 4)
    expected = torch.where(tokens[..., 0] == 0, 2.0, 2 - math.log2(3)) * mask
    for passes in (1, 2, 5, 100):
        prior.seen.clear()
        assert torch.allclose(prior.surprise(tokens, mask, [1, 2], passes), expected, atol=1e-6)
        assert len(prior.seen) == min(passes, int(mask.sum((1, 2)).max()))


# -- sampling ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2])
def test_steps_are_what_ties_cells_together(steps):
    """Two steps draw from the oracle's joint distribution; a single one draws each cell for itself."""
    tokens, mask = torch.zeros(1, 1, 2, 1, dtype=torch.int64), torch.ones(1, 1, 2, dtype=torch.bool)
    config = SamplerConfig(steps=steps, temperature_start=1, temperature_end=1)
    *_, last = Oracle().sample(tokens, mask, config, list(range(3000)), batch_size=3000)
    drawn = last.tokens[:, 0, :, 0]
    counts = torch.bincount(drawn[:, 0] * 3 + drawn[:, 1], minlength=9).double()
    apart = (JOINT.sum(1)[:, None] * JOINT.sum(0)).flatten()
    for expected, wanted in ((JOINT.flatten(), steps == 2), (apart, steps == 1)):
        distance = float(((counts - 3000 * expected) ** 2 / (3000 * expected)).sum())
        assert (distance < 32) == wanted  # 8 degrees: 1 in 10,000
        assert wanted or distance > 200


def test_the_network_sees_masks_where_nothing_is_written_yet():
    prior = Table(torch.zeros(2, 16))
    tokens, mask = torch.randint(16, (1, 4, 5, 2)), torch.zeros(1, 4, 5, dtype=torch.bool)
    mask[0, 1:3, 1:] = True  # 8 cells
    steps = list(prior.sample(tokens, mask, SamplerConfig(steps=4), [3]))
    assert len(prior.seen) == 4
    for i, (state, known) in enumerate(prior.seen):
        masked = (state == MASK).all(-1)
        assert torch.equal(masked, (state == MASK).any(-1))
        assert int(masked.sum()) == 8 - 2 * i  # t begins at the number of hidden cells
        assert not bool((masked & ~mask).any())
        assert torch.equal(state[~masked], steps[i].tokens[~masked])
        assert torch.equal(known, ~mask)


def test_strength_leaves_cells_to_be_seen():
    prior = Table(torch.zeros(2, 16))
    tokens, mask = torch.randint(16, (1, 4, 5, 2)), torch.ones(1, 4, 5, dtype=torch.bool)
    steps = list(prior.sample(tokens, mask, SamplerConfig(steps=2, strength=0.3), [3]))
    state, known = prior.seen[0]
    assert int((state == MASK).all(-1).sum()) == 6
    assert not known.any()
    kept = (state != MASK).all(-1)
    assert torch.equal(steps[-1].tokens[kept], tokens[kept])


def test_cool_draws_are_the_likely_ones():
    prior = Table(torch.tensor([[0.0, 1.0, 2.0, 0.5]]))
    tokens, mask = torch.zeros(1, 20, 20, 1, dtype=torch.int64), torch.ones(1, 20, 20, dtype=torch.bool)
    shares = {}
    for temperature in (0.05, 1.0, 8.0):
        config = SamplerConfig(steps=3, temperature_start=temperature, temperature_end=temperature)
        *_, last = prior.sample(tokens, mask, config, [0])
        shares[temperature] = float((last.tokens == 2).float().mean())
    assert shares[0.05] == 1
    assert shares[1.0] == pytest.approx(float(torch.tensor([0.0, 1.0, 2.0, 0.5]).softmax(0)[2]), abs=0.1)
    assert shares[8.0] < 0.4


def test_classes_are_asked_for():
    prior = tiny_absorbing(dataclasses.replace(ABSORBING, classes=3)).eval().requires_grad_(False)
    tokens, mask = torch.randint(16, (1, 4, 4, 2)), torch.ones(1, 4, 4, dtype=torch.bool)
    config = SamplerConfig(steps=4)
    drawn = {
        label: list(prior.sample(tokens, mask, config, [5], labels=[label]))[-1].tokens for label in range(4)
    }
    assert torch.equal(list(prior.sample(tokens, mask, config, [5]))[-1].tokens, drawn[3])  # none
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.allclose(
        prior.bits(tokens, mask, 1, 4, labels=[0]), prior.bits(tokens, mask, 1, 4, labels=[1]), atol=1e-4
    )
    with pytest.raises(ValueError, match=r"^expected 1 labels from 0 to 3 .*, got \[4\]$"):
        list(prior.sample(tokens, mask, config, [5], labels=[4]))
