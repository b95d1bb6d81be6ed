"""What every test shares: one thread (tiny models are slower on more), and a small model."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from tiny import save_tiny_bundle, tiny_model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model():
    return tiny_model()


@pytest.fixture
def bundle(tmp_path):
    """A folder with a tiny tokenizer and prior, as ``sundae.load`` takes it."""
    return save_tiny_bundle(tmp_path / "tiny")
