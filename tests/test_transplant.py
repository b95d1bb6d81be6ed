"""A trained prior is given the codes of another tokenizer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import PRIOR, save_tiny_bundle, tiny_absorbing, tiny_model, tiny_prior, tiny_tokenizer

import sundae
from sundae.bundles import Model
from sundae.checkpoint import save_bundle
from train import transplant


def cells(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(PRIOR.codebook_size, (count, PRIOR.depth), generator=generator)


def test_tables_are_found_again_from_their_sums():
    generator = torch.Generator().manual_seed(1)
    tables = torch.randn(3, 8, 5, generator=generator)
    codes = torch.randint(8, (60_000, 3), generator=generator)
    target = torch.stack([tables[j][codes[:, j]] for j in range(3)]).sum(0)
    found = transplant.fit_tables(target, codes, 8)
    got = torch.stack([found[j][codes[:, j]] for j in range(3)]).sum(0)
    assert float((got - target).square().mean() / target.square().mean()) < 1e-4


def test_a_code_that_never_occurs_means_nothing():
    codes = cells(500)
    codes[codes == 3] = 4
    tables = transplant.fit_tables(torch.randn(500, 6), codes, PRIOR.codebook_size)
    assert not tables[:, 3].any()
    assert tables[:, 4].any()


def test_renamed_codes_leave_the_trunk_what_it_knows():
    """A tokenizer whose codes are the old ones under other numbers: the prior's features must stay."""
    model, rename = tiny_model(), torch.randperm(16, generator=torch.Generator().manual_seed(5))
    old = cells(40_000)
    prior = transplant.transplant(model, model.tokenizer, old, rename[old])
    tokens, known = cells(16).reshape(1, 4, 4, 2), torch.zeros(1, 4, 4, dtype=torch.bool)
    with torch.no_grad():
        before, after = model.prior.hidden(tokens, known), prior.hidden(rename[tokens], known)
        fresh = tiny_prior(seed=9).hidden(tokens, known)
    error = (after - before).square().mean()
    assert error < 0.01 * (fresh - before).square().mean()


def test_only_a_sundae_prior_can_be_moved():
    model = tiny_model()
    other = Model("other", model.tokenizer, tiny_absorbing(), model.config, model.device)
    with pytest.raises(ValueError, match="expected a SUNDAE prior, got Absorbing"):
        transplant.transplant(other, model.tokenizer, cells(50), cells(50))


def test_the_command_writes_a_bundle_to_start_from(tmp_path):
    prior, other = save_tiny_bundle(tmp_path / "prior"), tmp_path / "other"
    save_bundle(other, {"tokenizer": tiny_tokenizer(seed=7)}, {"licence": "none"})
    (tmp_path / "pictures").mkdir()
    for i in range(6):
        noise = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "pictures" / f"{i}.png")
    words = ["--prior", prior, "--tokenizer", other, "--data", tmp_path / "pictures", "--size", 32]
    words = [str(word) for word in [*words, "--out", tmp_path / "new"]]
    transplant.main(words)
    new = sundae.load(tmp_path / "new")
    halves = {"atol": 1e-3, "rtol": 1e-3}  # bundles hold half precision
    codebooks = tiny_tokenizer(seed=7).quantizer.codebooks
    torch.testing.assert_close(new.tokenizer.quantizer.codebooks, codebooks, **halves)
    torch.testing.assert_close(new.prior.position, tiny_prior().position, **halves)
    with pytest.raises(ValueError, match="expected no bundle at"):
        transplant.main(words)
    with pytest.raises(ValueError, match="at least one picture"):
        transplant.main([*words, "--pictures", "0"])
