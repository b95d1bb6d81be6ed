"""train.label_maps: maps go where their pictures go, and a cell has the class that most of its pixels have."""

import shutil

import numpy as np
import pytest
from PIL import ExifTags, Image

from train import encode_dataset
from train.data import FolderSource, PortraitSource, Variation, nearest
from train.label_maps import LabelMaps, majority, read_map
from train.tokens import TokenShards

GREYS = np.array([10, 90, 170, 250], np.uint8)  # of the classes, far enough apart to survive a variation
ROUGH = 48  # px, height of a picture


def drawing(seed: int, height: int = ROUGH, width: int = 36) -> np.ndarray:
    """Patches of 12 px of four classes without any symmetry, uint8 ``(height, width)``."""
    patches = np.random.default_rng(seed).integers(0, 4, (height // 12, width // 12), dtype=np.uint8)
    return patches.repeat(12, 0).repeat(12, 1)


@pytest.fixture
def drawn(tmp_path):
    """Six pictures in two folders, each pixel in the grey of its class, and their maps in a tree of their own."""
    for i in range(6):
        classes = drawing(i)
        for top, values in (("pictures", GREYS[classes]), ("maps", classes)):
            path = tmp_path / top / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
    return tmp_path


def encode(root, name: str, *words: object) -> TokenShards:
    """Grey values as tokens: what a map says of a cell can then be read off the token."""
    fixed = (
        "--tokenizer",
        "",
        "--data",
        root / "pictures",
        "--out",
        root / name,
        "--size",
        36,
        "--workers",
        0,
    )
    encode_dataset.main([*map(str, fixed), "--shard-size", "4", *map(str, words)])
    return TokenShards(root / name)


def with_maps(root, name: str, *words: object) -> TokenShards:
    return encode(root, name, "--label-maps", root / "maps", "--map-classes", 4, *words)


# -- through the encoder -------------------------------------------------------------------------------------


def test_maps_go_where_their_pictures_go(drawn):
    """Cut, mirrored, moved and resized alike: wherever a token's grey is clear it is that of its cell's class."""
    shards = with_maps(drawn, "tokens", "--augmentations", 3)
    assert (len(shards), shards.twins, shards.map_classes) == (6, 8, 4)
    agreement = []
    for picture in range(6):
        maps = [shards.label_map(picture, version) for version in range(8)]
        for version, labels in enumerate(maps):
            assert labels.dtype == np.int64 and labels.shape == (36, 36)
            grey = shards.grid(picture, version)[..., 0]
            read = np.abs(grey[..., None] - GREYS.astype(int)).argmin(-1)
            agreement.append(float((read == labels).mean()))
        for side in range(0, 8, 2):
            assert np.array_equal(maps[side + 1], maps[side][:, ::-1])
        assert len({labels.tobytes() for labels in maps}) == 8  # every version has a map of its own
    assert min(agreement) > 0.9  # only where a resized edge mixes two greys do they differ
    plain = [agreement[i] for i in range(0, 48, 8)]
    assert min(plain) == 1  # nothing is resized here


def test_maps_are_reduced_to_the_token_grid(drawn):
    """Through a tokenizer's cells of 8 px; the maps change nothing about the tokens."""
    from tiny import tiny_tokenizer

    from sundae.checkpoint import save_bundle

    save_bundle(drawn / "bundle", {"tokenizer": tiny_tokenizer()}, {})
    words = ("--tokenizer", drawn / "bundle", "--size", 32)
    shards, bare = with_maps(drawn, "tokens", *words), encode(drawn, "bare", *words)
    assert bare.map_classes == 0
    maps = LabelMaps(drawn / "maps", FolderSource(drawn / "pictures", 32), 4, 32)
    for i in range(6):
        assert np.array_equal(shards.grid(i, 0), bare.grid(i, 0))
        assert np.array_equal(shards.label_map(i, 0), majority(maps[i], 8))
        assert np.array_equal(shards.label_map(i, 1), majority(maps[i][:, ::-1], 8))
    with pytest.raises(
        ValueError, match=r"^expected tokens with label maps in .*bare: encode with --label_maps"
    ):
        bare.label_map(0, 0)


def test_a_damaged_picture_takes_its_map_and_its_class_along(drawn, capsys):
    whole = with_maps(drawn, "whole", "--labels", "true")
    data = (drawn / "pictures/a/2.png").read_bytes()
    (drawn / "pictures/a/2.png").write_bytes(data[: len(data) // 2])
    rest = with_maps(drawn, "rest", "--labels", "true")
    output = capsys.readouterr()
    assert "damaged picture" in output.err and "a/2.png" in output.err and "it is left out" in output.err
    assert output.out.endswith("1 of 6 pictures were damaged and left out\n")
    assert [len(shard) for shard in rest.shards] == [3, 2]
    for i, j in enumerate([0, 2, 3, 4, 5]):  # in the order of their names: a/0 a/2 a/4 b/1 b/3 b/5
        assert np.array_equal(rest.grid(i, 1), whole.grid(j, 1))
        assert np.array_equal(rest.label_map(i, 1), whole.label_map(j, 1))
        assert rest.label(i) == whole.label(j) == int(j > 2)


def test_an_empty_shard_is_passed_over(drawn):
    for name in ("a/0", "a/2", "a/4", "b/1"):
        (drawn / f"pictures/{name}.png").write_bytes((drawn / f"pictures/{name}.png").read_bytes()[:60])
    shards = with_maps(drawn, "tokens")
    assert [len(shard) for shard in shards.shards] == [0, 2]
    assert np.array_equal(shards.label_map(1, 0), drawing(5)[6:42])
    assert shards.counts().sum() == 2 * 2 * 36 * 36


def test_tokens_with_maps_are_not_mixed_with_others(drawn):
    with_maps(drawn, "tokens")
    with pytest.raises(
        ValueError, match=r"^expected tokens with map_classes 0 in .*, found 4: choose another"
    ):
        encode(drawn, "tokens")


# -- reading -------------------------------------------------------------------------------------------------


def test_a_map_is_cut_as_its_picture_is_whatever_its_own_size(tmp_path):
    """Half and twice the picture's size; palette, 8 and 16 bits; landscape, and a picture turned by its EXIF."""
    classes = drawing(3, 48, 96)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # lies on its left side
    Image.fromarray(np.rot90(GREYS[classes])).save(tmp_path / "picture.jpg", exif=exif, quality=95)
    source = FolderSource(tmp_path, 48)
    assert source.extent(0) == (96, 48)
    upright = np.abs(source[0][..., :1].astype(int) - GREYS.astype(int)).argmin(-1)
    assert (upright == classes[:, 24:72]).mean() > 0.99
    palette = Image.fromarray(classes, "P")
    palette.putpalette(list(range(200, 212)))
    kinds = {
        "same": Image.fromarray(classes),
        "half": Image.fromarray(classes[::2, ::2]),
        "twice": Image.fromarray(classes.repeat(2, 0).repeat(2, 1)),
        "palette": palette,
        "deep": Image.fromarray(classes.astype(np.uint16) * 300),
    }
    for name, picture in kinds.items():
        picture.save(tmp_path / "picture.png")
        maps = LabelMaps(tmp_path, Named(source), 1000, 48)
        factor = 300 if name == "deep" else 1
        assert np.array_equal(maps[0], factor * classes[:, 24:72].astype(np.uint16)), name
        (tmp_path / "picture.png").unlink()


class Named:
    """A source that was listed before its maps came into the same folder."""

    def __init__(self, source):
        self.source, self.names = source, [source.name(i) for i in range(len(source))]

    def __len__(self):
        return len(self.names)

    def __getitem__(self, index):
        return self.source[index]

    def name(self, index):
        return self.names[index]

    def extent(self, index):
        return self.source.extent(index)


def test_drawn_portraits_can_have_maps_too(tmp_path):
    source = PortraitSource(7, 2, 64)
    for i in range(2):
        Image.fromarray(drawing(i, 60, 60)[:32, :32]).save(tmp_path / f"portrait-{7 + i}.png")
    maps = LabelMaps(tmp_path, source, 4, 64)
    assert np.array_equal(maps[1][::2, ::2], drawing(1, 60, 60)[:32, :32])


def damage(path, how: str) -> None:
    """Make one map a wrong one."""
    classes = drawing(4)
    if how == "missing":
        path.unlink()
    elif how == "text":
        path.write_text("no picture")
    elif how == "turned":
        Image.fromarray(classes.T).save(path)
    elif how == "value":
        Image.fromarray(classes + 1).save(path)
    elif how == "colours":
        Image.fromarray(classes).convert("RGB").save(path)
    elif how == "bits":
        Image.fromarray(classes % 2 == 1).save(path)
    elif how == "JPEG":
        Image.fromarray(classes).save(path, "JPEG")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"a label map for each of 6 pictures, found none at .*a.4\.png$"),
        ("text", r"a label map as PNG in .*4\.png"),
        ("JPEG", r"a label map as PNG in .*4\.png"),
        ("turned", r"a label map of 36x48 px or in proportion, got 48x36 px in .*4\.png$"),
        ("value", r"label map values below 4, got 4 in .*4\.png$"),
        ("colours", r"a label map with one channel of 8 or 16 bits \(L, P, I;16\), got RGB in .*4\.png$"),
        ("bits", r"a label map with one channel .* got 1 in .*4\.png$"),
    ],
)
def test_bad_maps_are_refused(drawn, how, message):
    damage(drawn / "maps/a/4.png", how)
    with pytest.raises(ValueError, match=f"^expected {message}"):
        with_maps(drawn, "tokens", "--augmentations", 0)
    assert not list((drawn / "tokens").glob("tokens-*"))


def test_missing_maps_are_counted_before_anything_is_encoded(drawn):
    shutil.rmtree(drawn / "maps/b")
    for words in ((), ("--dry-run",)):
        with pytest.raises(ValueError, match=r"found none at .*b.1\.png and 2 more$"):
            with_maps(drawn, "tokens", *words)
    assert not (drawn / "tokens").exists()


@pytest.mark.parametrize("words", [("--label-maps", "maps"), ("--map-classes", 3)], ids=str)
def test_maps_need_their_number_of_classes(drawn, words):
    with pytest.raises(ValueError, match=r"^expected label_maps, a folder, together with map_classes"):
        encode(drawn, "tokens", *words)


def test_greys_of_few_bits_are_not_taken_for_classes(tmp_path):
    """A PNG of 4-bit greys is read as 0, 17, 34, ..."""
    from zlib import compress, crc32

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + crc32(name + data).to_bytes(4, "big")

    header = chunk(b"IHDR", (2).to_bytes(4, "big") + (1).to_bytes(4, "big") + bytes((4, 0, 0, 0, 0)))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", compress(b"\x00\x12")) + chunk(b"IEND", b"")
    (tmp_path / "few.png").write_bytes(data)
    assert np.asarray(Image.open(tmp_path / "few.png")).tolist() == [[17, 34]]
    with pytest.raises(ValueError, match="one channel of 8 or 16 bits"):
        read_map(tmp_path / "few.png")


# -- the sums ------------------------------------------------------------------------------------------------


def test_majority_by_hand():
    labels = np.array([[3, 3, 0, 1], [3, 1, 1, 0], [2, 9, 7, 7], [9, 2, 7, 7]], np.uint16)
    assert majority(labels, 2).tolist() == [[3, 0], [2, 7]]  # of several the lowest
    assert np.array_equal(majority(labels, 1), labels)
    assert majority(labels, 4).tolist() == [[7]]
    assert majority(labels, 2).dtype == np.uint16


def test_nearest_takes_the_pixel_at_each_centre():
    """As Pillow does it, for boxes anywhere."""
    labels = np.random.default_rng(0).integers(0, 256, (31, 47), dtype=np.uint8)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        left, right = np.sort(rng.uniform(0, 47, 2))
        top, bottom = np.sort(rng.uniform(0, 31, 2))
        size = (int(rng.integers(1, 40)), int(rng.integers(1, 40)))
        if right - left < 1 or bottom - top < 1:
            continue
        box = (float(left), float(top), float(right), float(bottom))
        expected = Image.fromarray(labels).resize(size, Image.Resampling.NEAREST, box=box)
        assert np.array_equal(nearest(labels, box, size[1], size[0]), np.asarray(expected))


def test_a_variation_moves_picture_and_map_to_the_same_place():
    """A single dark pixel block and its class end at the same centre."""
    for seed in range(20):
        picture, labels = np.full((96, 96, 3), 255, np.uint8), np.zeros((96, 96), np.uint16)
        picture[30:40, 50:66], labels[30:40, 50:66] = 0, 1
        variation = Variation.draw(np.random.default_rng(seed))
        dark = variation.of_picture(picture)[..., 0].astype(float)
        dark = np.clip(dark.max() - dark - 40, 0, None)
        moved = variation.of_map(labels).astype(float)
        for axis in (0, 1):
            places = np.arange(96)
            centres = [(weight.sum(1 - axis) * places).sum() / weight.sum() for weight in (dark, moved)]
            assert abs(centres[0] - centres[1]) < 0.5
