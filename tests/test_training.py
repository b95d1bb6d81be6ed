"""train: losses by hand, codebooks that learn, data that depends on seed and place alone, and one small run."""

import json
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from tiny import tiny_prior, tiny_priors
from tinyrun import build, encode, export_to, prior_run

import sundae
from sundae.checkpoint import TOKENIZERS, load_tokenizer
from sundae.hourglass import class_labels
from sundae.tokenizer import ResidualQuantizer
from train import encode_dataset, export, losses, run, samples, settings, train_prior, train_tokenizer
from train.checkpoints import load_state, save_atomically
from train.codebook import CodebookTrainer, kmeans, perplexity, straight_through
from train.data import FolderSource, RandomCrops, Subset, open_source, split, to_tensor
from train.holes import HoleSettings, random_hole
from train.optim import Muon, WeightAverage, orthogonalize, split_parameters
from train.tokens import HoledTokens, TokenShards, tokens_hash

# -- losses --------------------------------------------------------------------------------------------------


def test_reconstruction_terms_by_hand():
    """A difference of 1 in the left half: edges only at the seam, one column of seven (three, one)."""
    target = torch.zeros(1, 3, 8, 8)
    output = target.clone()
    output[..., :4] = 1
    terms = losses.reconstruction_terms(output, target, torch.ones(1, 1, 8, 8), levels=3)
    assert float(terms["l1"]) == pytest.approx(0.5)
    assert float(terms["mse"]) == pytest.approx(0.5)
    assert float(terms["edges"]) == pytest.approx((1 / 7 + 1 / 3 + 1) / 3)
    same = losses.reconstruction_terms(target, target, torch.ones(1, 1, 8, 8))
    assert all(float(term) == 0 for term in same.values())


def test_pixels_that_matter_weigh_more():
    """An error of 1 in the left half, whose weight is 3, and nothing to the right of the seam."""
    target, weight = torch.zeros(1, 3, 8, 8), torch.ones(1, 1, 8, 8)
    output = target.clone()
    output[..., :4], weight[..., :4] = 1, 3
    terms = losses.reconstruction_terms(output, target, weight, levels=3)
    assert float(terms["l1"]) == pytest.approx(1.5)
    assert float(terms["mse"]) == pytest.approx(1.5)
    assert float(terms["edges"]) == pytest.approx(
        (1 / 7 + 1 / 3 + 1) / 3
    )  # a seam has its right side's weight


def test_hinge_and_matching_by_hand():
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert float(losses.discriminator_hinge(real, fake)) == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3)
    ones, target = [torch.ones(2), torch.zeros(3)], [torch.zeros(2), torch.full((3,), 2.0).requires_grad_()]
    assert float(losses.feature_matching(ones, target)) == pytest.approx((1 + 2) / 2)
    assert not losses.feature_matching(ones, target).requires_grad


def test_discriminator_scores_patches():
    score, features = losses.PatchDiscriminator(8)(torch.randn(2, 3, 64, 32))
    assert score.shape == (2, 1, 4, 2)
    assert [f.shape[1] for f in features] == [8, 16, 32]


@pytest.mark.parametrize("limit", [0.3, 1e4])
def test_adaptive_weight_is_the_ratio_of_gradient_norms(limit):
    torch.manual_seed(0)
    last, x = torch.nn.Linear(4, 3), torch.randn(5, 4)
    reconstruction, adversarial = last(x).square().mean(), last(x).sin().sum() * 0.1
    weight = losses.adaptive_weight(reconstruction, adversarial, last.weight, limit)
    rec, adv = (
        torch.autograd.grad(t, last.weight, retain_graph=True)[0] for t in (reconstruction, adversarial)
    )
    ratio = float(rec.square().sum().sqrt() / (adv.square().sum().sqrt() + 1e-4))
    assert float(weight) == pytest.approx(min(ratio, limit), rel=1e-5)
    assert not weight.requires_grad
    assert ratio > 0.3
    assert last.weight.grad is None


# -- optimiser -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 24, 64), (4, 64, 24), (2, 32, 32)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    torch.manual_seed(0)
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    spectrum = torch.linspace(0.1, 1, left.shape[-1])
    result = orthogonalize(left * spectrum @ right)
    values = torch.linalg.svdvals(result)
    assert float(values.min()) > 0.65
    assert float(values.max()) < 1.3
    assert float((torch.einsum("nij,nij->n", result, left @ right) / left.shape[-1]).min()) > 0.8


def test_muon_steps_like_adam_and_takes_stacked_matrices_apart():
    torch.manual_seed(0)
    start, gradient = torch.randn(96, 32), torch.randn(96, 32)
    stacked = torch.nn.Parameter(start.clone())
    apart = [torch.nn.Parameter(part.clone()) for part in start.chunk(3)]
    stacked.grad = gradient.clone()
    for parameter, part in zip(apart, gradient.chunk(3), strict=True):
        parameter.grad = part.clone()
    Muon([stacked], lr=0.1).step()
    Muon(apart, lr=0.1).step()
    assert torch.allclose(stacked, torch.cat(apart), atol=1e-5)
    assert float((stacked - start).detach().square().mean().sqrt()) == pytest.approx(0.02, rel=0.25)


def test_muon_in_bfloat16_steps_nearly_as_in_float32():
    torch.manual_seed(0)
    start, gradient = torch.randn(64, 32), torch.randn(64, 32)
    steps = {}
    for dtype in (torch.float32, torch.bfloat16):
        parameter = torch.nn.Parameter(start.clone())
        parameter.grad = gradient.clone()
        Muon([parameter], lr=1.0, dtype=dtype).step()
        steps[dtype] = parameter.detach() - start
    apart = (steps[torch.bfloat16] - steps[torch.float32]).norm() / steps[torch.float32].norm()
    assert 1e-4 < float(apart) < 0.05
    assert steps[torch.bfloat16].dtype == torch.float32


def test_weight_decay_shrinks():
    parameter = torch.nn.Parameter(torch.ones(4, 4))
    parameter.grad = torch.zeros(4, 4)
    Muon([parameter], lr=0.5, weight_decay=0.1).step()
    assert torch.allclose(parameter, torch.full((4, 4), 0.95))


def test_every_parameter_has_one_optimiser():
    model = tiny_prior()
    matrices, rest = split_parameters(model)
    assert len(matrices) + len(rest) == len(list(model.parameters()))
    assert len({id(p) for p in matrices + rest}) == len(matrices) + len(rest)
    assert all(p.ndim == 2 for p in matrices)
    qkv = model.down[0][0].attention.qkv.weight
    tables = [
        model.known.weight,
        model.embed[0].weight,
        model.head.classifiers[0].weight,
        model.head.prefix[0].weight,
    ]
    assert any(p is qkv for p in matrices)
    assert not any(p is table for p in matrices for table in tables)


# -- codebooks -----------------------------------------------------------------------------------------------


def clusters(count: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows around four corners of a square."""
    torch.manual_seed(0)
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]) * 3
    return corners[torch.randint(4, (count,))] + 0.05 * torch.randn(count, 2), corners


def test_kmeans_finds_clusters():
    rows, corners = clusters()
    centres = kmeans(rows, 8, 10)
    assert float(torch.cdist(corners, centres).min(1).values.max()) < 0.1


def test_codebooks_follow_the_data():
    """Far from the data at first: unused codes are revived, averages settle on the corners."""
    rows, corners = clusters()
    quantizer = ResidualQuantizer(1, 6, 2)
    quantizer.codebooks.fill_(50.0)
    trainer = CodebookTrainer(quantizer, decay=0.8)
    latent = rows.view(1, 20, 30, 2).permute(0, 3, 1, 2)
    for _ in range(60):
        trainer.learn(quantizer, rows, quantizer.quantize(latent).flatten(0, 2))
    assert float(torch.cdist(corners, quantizer.codebooks[0]).min(1).values.max()) < 0.15


def test_averages_are_the_ones_by_hand():
    """One code a book, one step: count and total move by 1 - decay towards the rows, or what is left of them."""
    quantizer = ResidualQuantizer(2, 1, 2)
    quantizer.codebooks[0] = 1.0
    trainer = CodebookTrainer(quantizer, decay=0.9)
    rows = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    trainer.learn(quantizer, rows, torch.zeros(2, 2, dtype=torch.int64))
    assert torch.allclose(trainer.count, torch.full((2, 1), 0.9 * 1 + 0.1 * 2))
    assert torch.allclose(quantizer.codebooks[0, 0], torch.tensor([0.4, 0.8]) / 1.1)
    assert torch.allclose(quantizer.codebooks[1, 0], torch.tensor([0.2, 0.6]) / 1.1)


def test_second_book_learns_what_the_first_leaves():
    torch.manual_seed(0)
    rows = torch.randn(500, 3)
    quantizer = ResidualQuantizer(2, 8, 3)
    trainer = CodebookTrainer(quantizer)
    trainer.start(quantizer, rows)
    assert bool(trainer.started)
    latent = rows.t().reshape(1, 3, 20, 25)
    coarse = quantizer.codebooks[0][quantizer.quantize(latent).view(-1, 2)[:, 0]]
    fine = quantizer.embed(quantizer.quantize(latent)).view(3, -1).t()
    assert float((rows - fine).square().mean()) < 0.7 * float((rows - coarse).square().mean())


def test_gradient_passes_straight_through():
    quantizer = ResidualQuantizer(2, 8, 3)
    quantizer.codebooks.copy_(torch.randn(2, 8, 3))
    before = quantizer.codebooks.clone()
    latent = torch.randn(1, 3, 4, 5, requires_grad=True)
    quantized, tokens, commitment = straight_through(quantizer, latent)
    weight = torch.randn_like(latent)
    (quantized * weight).sum().backward()
    assert torch.allclose(latent.grad, weight)
    assert torch.equal(quantizer.codebooks, before)
    assert torch.allclose(quantized, quantizer.embed(tokens), atol=1e-6)
    assert float(commitment.detach()) == pytest.approx(
        float((latent - quantized).detach().square().sum(1).mean()), rel=1e-5
    )


# -- settings ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inner:
    width: int = 8
    sizes: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    learning_rate: float = 0.1
    name: str = "x"
    steps: int | None = None
    inner: Inner = field(default_factory=Inner)


def parsed(tmp_path, text: str, *words: str):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return settings.parse(Outer, "test", ["--config", str(path), *words])


def test_settings_come_from_file_and_words(tmp_path):
    text = 'learning_rate = 1\nname = "file"\n[inner]\nwidth = 3\n'
    options, flags = parsed(
        tmp_path, text, "--name", "word", "--inner.sizes=[4, 5, 6]", "--steps", "7", "--dry-run"
    )
    assert options == Outer(1.0, "word", 7, Inner(3, (4, 5, 6)))
    assert flags.dry_run
    assert settings.parse(Outer, "test", ["--learning-rate", "2"])[0] == Outer(learning_rate=2.0)


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("learning_rat = 1", (), "unknown setting 'learning_rat' .*did you mean 'learning_rate'"),
        ("[inner]\nwidht = 1", (), "unknown setting 'widht' .*did you mean 'width'"),
        ("", ("--naem", "x"), "unknown setting 'naem' .*did you mean 'name'"),
        ("", ("--zzz", "1"), "unknown setting 'zzz'"),
        ("name = 3", (), "name to be str, got 3"),
        ("", ("--inner.width", "2.5"), "width to be int, got 2.5"),
        ("learning_rate = true", (), "learning_rate to be float, got True"),
        ("name = ", (), "expected TOML in"),
        ("", ("--name",), "expected a value after --name"),
        ("", ("name", "x"), "expected a setting like --name value, got 'name'"),
    ],
)
def test_bad_settings_are_refused(tmp_path, text, words, message):
    with pytest.raises(ValueError, match=message):
        parsed(tmp_path, text, *words)


@pytest.mark.parametrize("flag", ["--dry-run", "--dry_run"])
def test_a_dry_run_is_asked_for_as_settings_are(flag):
    options, flags = settings.parse(Outer, "test", [flag, "--name", "x"])
    assert flags.dry_run and options.name == "x"


class Fails(torch.utils.data.Dataset):
    """A set of which no item can be had."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        raise ValueError(f"expected a good item, got {index}")


def fail(error: Exception):
    raise error


@pytest.mark.parametrize(
    ("main", "line"),
    [
        (lambda: fail(ValueError("expected one, got two")), "error: expected one, got two"),
        (
            lambda: list(torch.utils.data.DataLoader(Fails(), num_workers=1)),
            "error: expected a good item, got 0",
        ),
        (
            lambda: fail(OSError(28, "No space left on device", "log.jsonl")),
            "error: [Errno 28] No space left on device: 'log.jsonl': make room and start the same command again; "
            "what was saved before is kept",
        ),
        (
            lambda: fail(PermissionError(13, "Permission denied", "runs")),
            "error: [Errno 13] Permission denied: 'runs'",
        ),
    ],
    ids=["settings", "loader", "disk", "rights"],
)
def test_what_a_user_did_wrong_is_one_line(main, line, capsys):
    with pytest.raises(SystemExit) as caught:
        settings.guard(main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == line + "\n"


def test_a_bug_is_no_users_fault():
    with pytest.raises(TypeError):
        settings.guard(lambda: fail(TypeError("a bug")))


def test_a_missing_settings_file_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"^expected a settings file at .*none.toml, found none$"):
        settings.parse(Outer, "test", ["--config", str(tmp_path / "none.toml")])


# -- data ----------------------------------------------------------------------------------------------------


class Gradients:
    """Small pictures made of their index."""

    def __init__(self, count: int, prefix: str = "picture"):
        self.count, self.prefix = count, prefix

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (24, 24, 3), dtype=np.uint8)

    def name(self, index: int) -> str:
        return f"{self.prefix}-{index:03}"

    def extent(self, index: int) -> tuple[int, int]:
        return 24, 24


def test_random_holes_are_never_empty_and_often_everything_or_little():
    rng, shares = np.random.default_rng(0), []
    for h, w in [(2, 2), (2, 9), (5, 3), (4, 4), (8, 32), (32, 32)] * 150:
        hole = random_hole(h, w, rng)
        assert hole.shape == (h, w)
        assert hole.dtype == bool
        assert hole.any()
        shares.append(hole.mean() if h * w > 1000 else np.nan)
    shares = np.array(shares)[~np.isnan(shares)]
    assert 0.08 < (shares == 1).mean() < 0.3
    assert (shares < 0.1).mean() > 0.1
    assert len(np.unique(shares)) > 50


def test_split_is_by_name_alone():
    training, held_out = split(Gradients(300), 0.2)
    names = [{part.name(i) for i in range(len(part))} for part in (training, held_out)]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 300
    assert 30 < len(names[1]) < 90
    fewer = split(Subset(Gradients(300), range(299, 100, -2)), 0.2)[1]
    assert {fewer.name(i) for i in range(len(fewer))} == names[1] & {
        f"picture-{i:03}" for i in range(299, 100, -2)
    }
    assert not {0, 300} & {len(held_out)}
    assert len(split(Gradients(9), 0.0)[1]) == 0


def test_crops_depend_on_seed_and_place_alone():
    source = Gradients(5)
    crops = RandomCrops(source, 8, 2, seed=3, items=40, eye_share=0.4)
    again = RandomCrops(source, 8, 2, seed=3, items=12, eye_share=0.4)
    first = [crops[i][0].clone() for i in range(12)]
    np.random.seed(1)
    torch.manual_seed(1)
    for i in reversed(range(12)):
        assert torch.equal(again[i][0], first[i])
    assert not torch.equal(RandomCrops(source, 8, 2, seed=4, items=12, eye_share=0.4)[0][0], first[0])
    assert first[0].shape == (2, 3, 8, 8)
    assert float(first[0].abs().max()) <= 1
    seen = {next(k for k in range(5) if contains(source[k], crops[i][0][0])) for i in range(5)}
    assert seen == set(range(5))  # an epoch shows every picture


def test_crops_weigh_eyes_and_nothing_else():
    plain = RandomCrops(Gradients(3), 8, 2, seed=1, items=9, eye_share=0.5)
    assert all(torch.equal(plain[i][1], torch.ones(2, 1, 8, 8)) for i in range(9))
    weighted = RandomCrops(Gradients(3), 24, 1, seed=1, items=9, eye_share=0.5, eye_weight=4.0)
    weight = weighted[0][1][0, 0]  # the whole picture, perhaps mirrored: the eyes are mirror images
    peaks = {tuple(divmod(int(i), 24)) for i in weight.flatten().topk(2).indices}
    assert peaks == {(11, 9), (11, 14)}
    assert float(weight.max()) == pytest.approx(5, abs=0.35)
    assert float(weight[0].max()) == pytest.approx(1, abs=1e-3)


def contains(picture: np.ndarray, crop: torch.Tensor) -> bool:
    wanted = ((crop.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
    windows = np.lib.stride_tricks.sliding_window_view(picture, (8, 8), (0, 1)).transpose(0, 1, 3, 4, 2)
    return any(bool((windows == side).all((2, 3, 4)).any()) for side in (wanted, wanted[:, ::-1]))


@pytest.fixture
def shards(tmp_path):
    rng = np.random.default_rng(0)
    for i, count in enumerate((3, 4)):
        np.save(tmp_path / f"tokens-{i}.npy", rng.integers(0, 16, (count, 2, 4, 5, 2), dtype=np.uint16))
    index = {"codebook_size": 16, "depth": 2, "tokenizer": "x", "classes": 5}
    (tmp_path / "index.json").write_text(json.dumps(index))
    for i, labels in enumerate(([0, 1, 2], [3, 4, 0, 1])):
        np.save(tmp_path / f"labels-{i}.npy", np.array(labels))
    return TokenShards(tmp_path)


def test_shards_are_read_in_order(shards):
    files = np.concatenate([np.asarray(shard) for shard in shards.shards])
    assert len(shards) == 7
    for i in range(7):
        assert np.array_equal(shards.grid(i, 1), files[i, 1])
    counts = np.stack([np.bincount(files[..., j].ravel(), minlength=16) for j in range(2)])
    assert np.allclose(shards.frequencies().numpy(), counts / counts.sum(1, keepdims=True))


def test_holed_tokens_depend_on_seed_and_place_alone(shards):
    plain = HoleSettings()
    items = HoledTokens(shards, plain, seed=5, items=100, full_noise=0.25, unroll_steps=3)
    first = [items[i] for i in range(20)]
    torch.manual_seed(9)
    again = HoledTokens(shards, plain, seed=5, items=21, full_noise=0.25, unroll_steps=3)
    for i in reversed(range(20)):
        assert all(torch.equal(a, b) for a, b in zip(again[i], first[i], strict=True))
    other = HoledTokens(shards, plain, seed=6, items=100, full_noise=0.25, unroll_steps=3)
    assert any(not torch.equal(other[i][2], first[i][2]) for i in range(20))
    for tokens, corrupted, hole, uniforms, _ in first:
        assert hole.any()
        assert torch.equal(tokens[~hole], corrupted[~hole])
        assert uniforms.shape == (2, *tokens.shape)
        assert 0 <= float(uniforms.min()) < float(uniforms.max()) < 1


def test_corruption_rates_are_uniform_with_some_full_noise(shards):
    items = HoledTokens(shards, HoleSettings(everything=True), 5, 400, 0.25, 1)
    rates = [float((items[i][1] != items[i][0]).any(-1).float().mean()) for i in range(400)]
    full = np.mean([rate > 0.97 for rate in rates])  # of 20 cells; a code may fall on itself
    assert 0.2 < full < 0.42
    low, middle = (np.mean([lo <= rate < hi for rate in rates]) for lo, hi in ((0, 0.33), (0.33, 0.66)))
    assert 0.15 < low < 0.36 and 0.15 < middle < 0.36


def test_labels_go_with_their_pictures_and_are_dropped_at_their_share(shards):
    items = HoledTokens(shards, HoleSettings(), 5, 700, 0.25, 1, drop_label=0.2)
    seen: dict[int, set[int]] = {}
    for i in range(700):
        tokens, *_, label = items[i]
        picture = next(k for k in range(7) for m in (0, 1) if np.array_equal(shards.grid(k, m), tokens))
        seen.setdefault(picture, set()).add(int(label))
    assert seen == {k: {shards.label(k), 5} for k in range(7)}
    dropped = sum(int(items[i][4]) == 5 for i in range(700)) / 700
    assert 0.13 < dropped < 0.27


def break_shards(root, how: str) -> None:
    """Make a folder of good shards a bad one."""
    index = json.loads((root / "index.json").read_text())
    if how == "index":
        (root / "index.json").write_text("{")
    elif how == "key":
        (root / "index.json").write_text(json.dumps({k: v for k, v in index.items() if k != "depth"}))
    elif how == "truncated":
        (root / "tokens-1.npy").write_bytes((root / "tokens-1.npy").read_bytes()[:100])
    elif how == "no label":
        (root / "labels-1.npy").unlink()
    elif how == "few labels":
        np.save(root / "labels-1.npy", np.array([3, 4, 0]))
    elif how == "high label":
        np.save(root / "labels-1.npy", np.array([3, 5, 0, 1]))
    elif how == "low label":
        np.save(root / "labels-1.npy", np.array([3, -1, 0, 1]))
    elif how == "maps":
        (root / "index.json").write_text(json.dumps(index | {"map_classes": 3}))
        np.save(root / "maps-0.npy", np.zeros((3, 2, 4, 5), np.uint16))
        np.save(root / "maps-1.npy", np.zeros((4, 2, 5, 4), np.uint16))
    elif how == "empty":
        for i in range(2):
            np.save(root / f"tokens-{i}.npy", np.zeros((0, 2, 4, 5, 2), np.uint16))
            np.save(root / f"labels-{i}.npy", np.zeros(0, np.int64))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("index", r"JSON in .*index.json: .*: encode again"),
        ("key", r"depth in .*index.json, found none: encode again"),
        ("truncated", r"an array in .*tokens-1.npy: .*: delete tokens-1.npy there and encode again"),
        (
            "no label",
            r"an array in .*labels-1.npy: No such file .*: delete tokens-1.npy there and encode again",
        ),
        ("few labels", r"4 class labels from 0 to 4 in .*labels-1.npy, got 3: delete tokens-1.npy"),
        ("high label", r"4 class labels from 0 to 4 in .*labels-1.npy, got 4, among them 5: delete"),
        ("low label", r"4 class labels from 0 to 4 in .*labels-1.npy, got 4, among them -1: delete"),
        ("maps", r"label maps \(4, 2, 4, 5\) in .*maps-1.npy, got \(4, 2, 5, 4\): delete tokens-1.npy"),
        ("empty", r"token shards in .*, found none: run train.encode_dataset first"),
    ],
)
def test_bad_shards_are_told(shards, how, message):
    break_shards(shards.root, how)
    with pytest.raises(ValueError, match=f"^expected {message}"):
        TokenShards(shards.root)


def test_values_that_are_none_of_the_codebooks_are_told(shards):
    tokens = np.load(shards.root / "tokens-1.npy")
    tokens[2, 1, 0, 0, 1] = 16
    np.save(shards.root / "tokens-1.npy", tokens)
    bad = TokenShards(shards.root)
    assert bad.grid(5, 0).max() < 16
    for attempt in (lambda: bad.grid(5, 1), bad.counts, bad.frequencies):
        with pytest.raises(ValueError, match=r"^expected tokens below 16 in .*, got 16: encode again$"):
            attempt()
    (shards.root / "index.json").write_text(json.dumps(shards.index | {"map_classes": 3}))
    for i, shard in enumerate(shards.shards):
        np.save(shards.root / f"maps-{i}.npy", np.full(shard.shape[:4], 2 + i, np.uint16))
    mapped = TokenShards(shards.root)
    assert (mapped.label_map(2, 1) == 2).all()
    with pytest.raises(ValueError, match=r"^expected label map values below 3 in .*, got 3: encode again$"):
        mapped.label_map(3, 0)


@pytest.mark.parametrize(
    ("codes", "used", "told"),
    [
        (200, (4, 200), "use 4 of the 200 codes of book 1,"),
        (200, (200, 4), "use 4 of the 200 codes of book 2,"),
        (200, (5, 5), ""),
        (20_000, (5, 5), "use 5 of the 20000 codes of book 1,"),  # of the 400 that 400 cells could show
        (20_000, (9, 9), ""),
        (3, (1, 3), "use 1 of the 3 codes of book 1,"),
        (1, (1, 1), ""),
    ],
)
def test_a_codebook_that_is_hardly_used_is_told(tmp_path, capsys, codes, used, told):
    """Up to a fiftieth of the codes that these cells could show, or a single one of several."""
    cells = np.arange(400)
    tokens = np.stack([cells % count for count in used], -1).reshape(1, 1, 20, 20, 2)
    np.save(tmp_path / "tokens-0.npy", tokens.astype(np.uint16))
    (tmp_path / "index.json").write_text(json.dumps({"codebook_size": codes, "depth": 2, "tokenizer": "x"}))
    encode_dataset.warn_of_few_codes(tmp_path)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == bool(told)
    assert not told or (lines[0].startswith("warning: ") and told in lines[0])


@pytest.mark.parametrize("where", ["cpu", "meta"])
def test_labels_are_checked_where_reading_them_stops_nothing(where):
    """A label on a GPU is not read back while gradients are computed; the meta device stands for one, as nothing
    there can be read at all. Without gradients, which is to sample, it is."""
    x, labels = torch.zeros(2, 3, device=where), torch.tensor([0, 4], device=where)
    for bad in (labels[:1], labels[None]):
        with pytest.raises(ValueError, match=r"^expected 2 labels from 0 to 3"):
            class_labels(bad, 3, x)
    if where == "cpu":
        for mode in (torch.enable_grad(), torch.no_grad(), torch.inference_mode()):
            with mode, pytest.raises(ValueError, match=r"^expected 2 labels from 0 to 3 .*got \[0, 4\]$"):
                class_labels(labels, 3, x)
    else:
        assert class_labels(labels, 3, x) is labels
        with torch.no_grad(), pytest.raises(RuntimeError, match="meta"):
            class_labels(labels, 3, x)


def test_focused_holes_are_small_and_cover_a_point():
    settings = HoleSettings(focus=((0.47, 0.4), (0.7, 0.5)), focus_share=1.0)
    rng = np.random.default_rng(3)
    for h, w in [(32, 32), (16, 40), (4, 4)] * 40:
        hole = random_hole(h, w, rng, settings)
        assert any(hole[int(row * h), int(column * w)] for row, column in settings.focus)
        assert hole.mean() < 0.5
    assert random_hole(5, 7, rng, HoleSettings(everything=True)).all()


def test_holes_are_veiled_in_cells_as_in_pixels():
    picture = np.random.default_rng(0).integers(0, 100, (12, 8, 3), dtype=np.uint8)
    cells = np.zeros((3, 2), bool)
    cells[1, 0] = True
    pixels = cells.repeat(4, 0).repeat(4, 1)
    veiled = samples.veil(picture, cells)
    assert np.array_equal(veiled, samples.veil(picture, pixels))
    assert np.array_equal(veiled[~pixels], picture[~pixels])
    assert (veiled[pixels] == samples.HOLE).all()


def test_missing_data_is_told(tmp_path):
    for attempt in (
        lambda: TokenShards(tmp_path),
        lambda: open_source(str(tmp_path / "none"), 32),
        lambda: FolderSource(tmp_path, 32),
        lambda: open_source("portraits:1", 32),
        lambda: export.averaged(str(tmp_path / "state.pt"), TOKENIZERS, "tokenizer"),
    ):
        with pytest.raises(ValueError, match=r"^expected .*(found none|got).*"):
            attempt()


def test_weight_average_and_atomic_checkpoint(tmp_path):
    layer = torch.nn.Linear(1, 1)
    layer.weight.data.fill_(0.0)
    average = WeightAverage(layer, 0.5)
    layer.weight.data.fill_(1.0)
    average.update(layer)  # the warm-up's decay is 1 / 21
    assert float(average.state["weight"]) == pytest.approx(20 / 21)
    path = tmp_path / "run" / "state.pt"
    save_atomically(average.state_dict(), path)
    restored = WeightAverage(layer, 0.5)
    restored.load_state_dict(load_state(path))
    assert restored.updates == 1
    assert torch.equal(restored.state["weight"], average.state["weight"])
    assert [file.name for file in path.parent.iterdir()] == ["state.pt"]


def test_tensors_of_pictures_have_their_range():
    picture = np.array([0, 255, 51], np.uint8).reshape(1, 1, 1, 3)
    assert to_tensor(picture).flatten().tolist() == pytest.approx([-1, 1, -0.6])


# -- one small run -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return build(tmp_path_factory.mktemp("house"))


def difference(one: dict, two: dict) -> float:
    assert one.keys() == two.keys()
    return max(float((one[name].double() - two[name].double()).abs().max()) for name in one)


def test_tokenizer_learned_and_its_codebooks_are_in_use(house):
    state = load_state(house / "tokenizer")
    assert state["step"] == 6
    assert bool(state["codebook"]["started"])
    tokenizer = load_tokenizer(house / "export")
    for name, value in state["average"]["state"].items():
        assert torch.equal(tokenizer.state_dict()[name], value.half().float())
    pictures = [FolderSource(house / "pictures", 32)[i] for i in range(12)]
    image = to_tensor(np.stack(pictures))
    tokens = tokenizer.encode(image)
    assert len(tokens[..., 0].unique()) > 4
    error = (tokenizer.decode(tokens) - image).square().mean()
    assert float(error) < float((image - image.mean((0, 2, 3), keepdim=True)).square().mean())


def test_tokens_on_disk_are_the_tokenizers(house):
    tokenizer, shards = load_tokenizer(house / "export"), TokenShards(house / "tokens")
    assert shards.index == {
        "tokenizer": tokens_hash(tokenizer),
        "grid": [4, 4],
        "depth": 2,
        "codebook_size": 16,
        "versions": 2,
        "classes": 0,
        "class_names": [],
        "map_classes": 0,
    }
    assert [len(shard) for shard in shards.shards] == [4, 4, 4]
    source = FolderSource(house / "pictures", 32)
    for i in (0, 5, 11):
        image = to_tensor(source[i][None])
        for mirrored, picture in enumerate((image, image.flip(3))):
            assert np.array_equal(shards.grid(i, mirrored), tokenizer.encode(picture)[0].numpy())


def test_encoding_again_keeps_what_is_there(house):
    files = sorted((house / "tokens").glob("*.npy"))
    before = [file.stat().st_mtime_ns for file in files]
    encode(house, "tokens")
    assert [file.stat().st_mtime_ns for file in files] == before


def test_tokenizer_resumes_as_if_never_stopped(house, monkeypatch):
    """Stopped after one step: k-means, the codebooks and the game are all to come."""
    out = house / "tokenizer-resumed"
    words = ["--config", str(house / "tokenizer.toml"), "--out", str(out)]
    steps, train_step = [], train_tokenizer.TokenizerTrainer.train_step

    class Over(run.Clock):
        @property
        def over(self) -> bool:
            return len(steps) == 1

    monkeypatch.setattr(run, "Clock", Over)
    monkeypatch.setattr(
        train_tokenizer.TokenizerTrainer,
        "train_step",
        lambda self, batch: (steps.append(1), train_step(self, batch))[1],
    )
    train_tokenizer.main(words)
    assert load_state(out)["step"] == 1
    train_tokenizer.main(words)
    resumed, straight = load_state(out), load_state(house / "tokenizer")
    assert resumed["step"] == straight["step"] == 6 == len(steps)
    assert difference(resumed["tokenizer"], straight["tokenizer"]) < 1e-6
    assert difference(resumed["average"]["state"], straight["average"]["state"]) < 1e-6


def test_prior_resumes_as_if_never_stopped(house):
    straight = prior_run(house, "prior", 4)
    assert prior_run(house, "prior-resumed", 2)["step"] == 2
    resumed = prior_run(house, "prior-resumed", 4)
    assert resumed["step"] == straight["step"] == 4
    assert difference(resumed["denoiser"], straight["denoiser"]) < 1e-6
    assert difference(resumed["average"]["state"], straight["average"]["state"]) < 1e-6


def test_exported_bundle_paints(house):
    prior_run(house, "prior-exported", 2)
    export_to(house, "bundle", "--prior", str(house / "prior-exported"))
    model = sundae.load(house / "bundle")
    assert model.resolution == 32
    training = {"batch_size": 4, "grids": 8, "grid_passes": 12}  # the second step is unrolled
    assert model.config["provenance"] == {"tokenizer_steps": 6, "prior_steps": 2, "prior_training": training}
    picture = FolderSource(house / "pictures", 32)[0]
    mask = np.zeros((32, 32), bool)
    mask[8:20, 8:20] = True
    last = list(sundae.Inpainter(model).prepare(picture, mask).run(sundae.SamplerConfig(steps=2)))[-1]
    assert np.array_equal(np.asarray(last.image())[~mask], picture[~mask])


@pytest.mark.parametrize(
    ("chain", "kind", "passes"),
    [
        ((2, 0, 1), "sundae", 20),
        ((3, 0, 1), "sundae", 30),
        ((3, 4, 1), "sundae", 22),
        ((2, 4, 3), "sundae", 12),  # of the steps 6 and 9
        ((2, 50, 1), "sundae", 10),
        ((1, 0, 1), "sundae", 10),
        ((2, 0, 1), "absorbing", 10),
        ((2, 0, 1), "autoregressive", 10),
    ],
)
def test_what_a_prior_s_training_took(chain, kind, passes, tmp_path):
    steps = dict(zip(("unroll_steps", "unroll_from", "unroll_every"), chain))
    settings_file = tmp_path / run.SETTINGS
    settings_file.write_text(json.dumps({"batch_size": 6, "start_from": "/home/me/runs/first", **steps}))
    found = export.prior_training(tmp_path / "state-00000010.pt", tiny_priors()[kind], 10)
    known = {"batch_size": 6, "grids": 60, "grid_passes": 6 * passes, "start_from": "runs/first"}
    assert found == export.prior_training(tmp_path, tiny_priors()[kind], 10) | known == known
    options = train_prior.PriorSettings(**steps)
    unrolled = [s for s in range(10) if s >= options.unroll_from and s % options.unroll_every == 0]
    if kind == "sundae":
        assert passes == 10 + len(unrolled) * (options.unroll_steps - 1)
    assert export.prior_training(tmp_path / "elsewhere" / "best.pt", tiny_priors()[kind], 10) == {}
    settings_file.write_text('{"batch_size": ')
    with pytest.raises(
        ValueError, match=r"^expected the settings of a run in .*settings.json, got something"
    ):
        export.prior_training(tmp_path, tiny_priors()[kind], 10)


def test_tokens_of_another_tokenizer_are_refused(house):
    content = json.loads((house / "tokens" / "index.json").read_text())
    (house / "foreign").mkdir()
    (house / "foreign" / "index.json").write_text(json.dumps(content | {"tokenizer": "0" * 64}))
    np.save(house / "foreign" / "tokens-0.npy", np.zeros((2, 2, 4, 4, 2), np.uint16))
    with pytest.raises(
        ValueError, match=r"^expected tokens of tokenizer [0-9a-f]+ in .*, got tokens of 000000000000"
    ):
        train_prior.main(
            [
                "--config",
                str(house / "prior.toml"),
                "--tokens",
                str(house / "foreign"),
                "--out",
                str(house / "x"),
            ]
        )
    with pytest.raises(
        ValueError, match=r"^expected tokens with tokenizer [0-9a-f]+ in .*, found 000000000000"
    ):
        encode(house, "foreign")


def test_dry_runs_write_nothing(house, capsys):
    train_prior.main(["--config", str(house / "prior.toml"), "--out", str(house / "dry"), "--dry-run"])
    train_tokenizer.main(
        ["--config", str(house / "tokenizer.toml"), "--out", str(house / "dry"), "--dry-run"]
    )
    assert "M parameters" in capsys.readouterr().out
    assert not (house / "dry").exists()


def test_perplexity_counts_codes_in_use():
    assert float(perplexity(torch.tensor([0, 1, 2, 3]), 16)) == pytest.approx(4, rel=1e-4)
    assert float(perplexity(torch.tensor([5, 5]), 16)) == pytest.approx(1, rel=1e-4)
