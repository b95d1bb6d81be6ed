"""What every test shares: one thread (tiny models are slower on more), and a small model."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import settings
from tiny import save_tiny_bundle, tiny_model

torch.set_num_threads(1)
# The same cases on every machine; HYPOTHESIS_PROFILE=default looks for others.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


@pytest.fixture(scope="session")
def model():
    return tiny_model()


@pytest.fixture
def bundle(tmp_path):
    """A folder with a tiny tokenizer and prior, as ``sundae.load`` takes it."""
    return save_tiny_bundle(tmp_path / "tiny")
