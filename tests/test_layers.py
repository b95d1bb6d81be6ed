"""sundae.layers: positions reach every head and are relative; attention stays within its row or column."""

import pytest
import torch
from tiny import randomise

from sundae.layers import ATTENTION_KINDS, Block, GridAttention, axial_rotary, rotate

CPU = torch.device("cpu")
WIDTH, HEAD = 32, 8


def attention(kind: str) -> GridAttention:
    """Random projections; the output projection is the identity, so each head shows in its own channels."""
    layer = randomise(GridAttention(WIDTH, HEAD, kind), 3).requires_grad_(False)
    layer.out.weight.copy_(torch.eye(WIDTH))
    return layer


def by_head(x: torch.Tensor) -> torch.Tensor:
    return x.unflatten(-1, (WIDTH // HEAD, HEAD))


def test_rotary_angles_follow_rows_in_one_half_and_columns_in_the_other():
    angles = axial_rotary(3, 5, HEAD, CPU)
    assert angles.shape == (3, 5, HEAD // 2)
    assert angles.dtype == torch.float32
    assert torch.equal(angles[:, :1, :2].expand(-1, 5, -1), angles[..., :2])
    assert torch.equal(angles[:1, :, 2:].expand(3, -1, -1), angles[..., 2:])
    assert torch.equal(angles[:, 0, 0], torch.arange(3.0))
    assert torch.equal(angles[0, :, 2], torch.arange(5.0))


def test_rotation_keeps_norms_and_is_undone_by_the_opposite_angle():
    x, angles = torch.randn(2, 3, 5, HEAD), axial_rotary(3, 5, HEAD, CPU)
    turned = rotate(x, angles)
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.allclose(rotate(turned, -angles), x, atol=1e-5)
    assert torch.equal(turned[:, 0, 0], x[:, 0, 0])


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_every_head_sees_positions(kind):
    """Without positions attention does not notice a reordering of the cells; with them each head must."""
    layer, x = attention(kind), torch.randn(1, 6, 7, WIDTH)
    rows, columns = torch.randperm(6), torch.randperm(7)
    angles = axial_rotary(6, 7, HEAD, CPU)

    def change(angles: torch.Tensor) -> torch.Tensor:
        shuffled = layer(x[:, rows][:, :, columns], angles)
        straight = layer(x, angles)[:, rows][:, :, columns]
        return by_head(shuffled - straight).abs().amax((0, 1, 2, 4))

    assert bool((change(torch.zeros_like(angles)) < 1e-5).all())
    assert bool((change(angles) > 1e-3).all()), change(angles)


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_only_differences_of_position_matter(kind):
    layer, x = attention(kind), torch.randn(2, 4, 5, WIDTH)
    here = axial_rotary(4, 5, HEAD, CPU)
    elsewhere = axial_rotary(20, 20, HEAD, CPU)[11:15, 7:12]
    assert torch.allclose(layer(x, here), layer(x, elsewhere), atol=1e-5)


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_attention_reaches_its_own_line_and_nothing_else(kind):
    layer, x = attention(kind), torch.randn(2, 4, 5, WIDTH)
    angles = axial_rotary(4, 5, HEAD, CPU)
    changed = x.clone()
    changed[0, 2, 3] += 1
    moved = (layer(changed, angles) != layer(x, angles)).any(-1)
    expected = torch.zeros(2, 4, 5, dtype=torch.bool)
    expected[{"global": (0,), "row": (0, 2), "column": (0, slice(None), 3)}[kind]] = True
    assert torch.equal(moved, expected)


def test_block_starts_as_the_identity():
    x = torch.randn(1, 3, 4, WIDTH)
    assert torch.equal(Block(WIDTH, HEAD, "global", 2)(x, axial_rotary(3, 4, HEAD, CPU)), x)


@pytest.mark.parametrize(
    ("width", "head", "kind"), [(30, 8, "global"), (12, 6, "global"), (32, 8, "diagonal")]
)
def test_bad_shapes_are_refused_in_one_line(width, head, kind):
    with pytest.raises(ValueError, match=r"^expected .*, got .*$"):
        GridAttention(width, head, kind)
