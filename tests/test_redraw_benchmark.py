"""benchmarks/inpaint.py: what it tells of a tiny bundle."""

import pytest
from tiny import save_tiny_bundle

from benchmarks import inpaint as benchmark


def test_a_fresh_process_tells_its_time_and_memory(tmp_path):
    ready, peak = benchmark.fresh_process(str(save_tiny_bundle(tmp_path / "tiny")))
    assert 0 < ready < 300  # seconds
    assert 100 < peak < 4000  # MB: Python and torch, and next to nothing more
    with pytest.raises(ValueError, match=r"^expected a model name .* got 'no-such-bundle'") as caught:
        benchmark.fresh_process("no-such-bundle")
    assert "\n" not in str(caught.value)
