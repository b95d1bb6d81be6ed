"""taming-transformers and latent diffusion: ``VQModel``, ``VQModelInterface`` and ``GumbelVQ`` of Lightning files.

Everything but the training resolution follows from the weights. The YAML gives that, and is checked against them.
"""

from __future__ import annotations

from torch import nn

from sundae.convert.names import Tensors, check_pictures, count, fill, shape_of
from sundae.convert.settings import Settings, agree, lookup, whole
from sundae.convert.tensors import Stored
from sundae.taming import GROUPS, TamingConfig, TamingTokenizer
from sundae.vqgan import VQGANConfig, VQGANTokenizer

DROPPED = (
    r"loss\.",  # LPIPS and discriminator
    r"colorize$",  # colours of segmentation maps in logs
    r"model_ema\.",  # of latent diffusion; its own evaluation uses the plain weights
    r"quantize\.embedding\.(cluster_size|embed_avg)$",  # running averages of EMAVectorQuantizer
    r"quantize\.used$",  # taken into account in :func:`used_codes`
)
GUMBEL = ("quantizer.codebooks", "quantizer.proj.weight", "quantizer.proj.bias")
ASSUMED_RESOLUTION = 256  # px; of nearly every published model


def matches(tensors: Tensors) -> bool:
    return is_taming(tensors) and "quantize.embedding.weight" in tensors


def matches_gumbel(tensors: Tensors) -> bool:
    return is_taming(tensors) and "quantize.proj.weight" in tensors


def is_taming(tensors: Tensors) -> bool:
    return "encoder.down.0.block.0.conv1.bias" in tensors


def read(tensors: Tensors, settings: Settings) -> nn.Module:
    """A ``VQModel``: ours of :mod:`sundae.taming`, which can be trained on, unless it has no attention in the middle.

    Raises:
        ValueError: as :func:`sundae.convert.names.fill`, or if the settings say otherwise than the weights.
    """
    tensors = used_codes(tensors, ("quantize.embedding.weight",))
    config = structure(tensors, settings, "quantize.embedding.weight", "nearest")
    codebook = {"quantizer.codebooks": "quantize.embedding.weight"}
    plain = as_taming(config)
    kind = VQGANTokenizer if plain is None else TamingTokenizer
    return fill(kind, plain or config, tensors, lambda name: codebook.get(name, name), DROPPED)


def read_gumbel(tensors: Tensors, settings: Settings) -> nn.Module:
    """A ``GumbelVQ``; its noise is left out, so that a picture has one set of tokens. Raises as :func:`read`."""
    names = ("quantize.embed.weight", "quantize.proj.weight", "quantize.proj.bias")
    tensors = used_codes(tensors, names)
    config = structure(tensors, settings, "quantize.embed.weight", "argmax")
    theirs: dict[str, str] = dict(zip(GUMBEL, names))
    return fill(VQGANTokenizer, config, tensors, lambda name: theirs.get(name, name), DROPPED)


def used_codes(tensors: Tensors, tables: tuple[str, ...]) -> Tensors:
    """With a ``remap``, only the codes in use, numbered as the file's transformers number them.

    taming finds the nearest of all codes and gives a random number to one that is not in use; here the nearest is
    one of those in use.

    Raises:
        ValueError: if ``quantize.used`` is no list of different codes.
    """
    if "quantize.used" not in tensors:
        return tensors
    size = tensors[tables[0]].shape[0] if tables[0] in tensors else 0
    values = tensors["quantize.used"].read()
    used = tuple(values.flatten().tolist())
    whole_numbers = not values.is_floating_point() and values.ndim == 1 and used
    if not whole_numbers or len(set(used)) < len(used) or not 0 <= min(used) <= max(used) < size:
        raise ValueError(f"expected different codes below {size} in quantize.used, got others")
    return {name: some(tensor, name, used, tables) for name, tensor in tensors.items()}


def some(tensor: Stored, name: str, rows: tuple[int, ...], tables: tuple[str, ...]) -> Stored:
    if name not in tables:
        return tensor
    if not tensor.shape or max(rows) >= tensor.shape[0]:
        raise ValueError(f"expected a row of {name} for each code in use, got {tensor.shape}")
    return tensor.select(rows)


def structure(tensors: Tensors, settings: Settings, codebook: str, lookup_kind: str) -> VQGANConfig:
    """The network's shape, from those of a few tensors."""
    codes, dim = shape_of(tensors, codebook, 2)
    first = shape_of(tensors, "encoder.conv_in.weight", 4)
    check_pictures(first, "encoder.conv_in.weight")
    levels = count(tensors, r"encoder\.down\.(\d+)\.block\.0\.conv2\.weight$")
    widths = tuple(shape_of(tensors, f"encoder.down.{i}.block.0.conv2.weight", 4)[0] for i in range(levels))
    attention = tuple(f"encoder.down.{i}.attn.0.q.weight" in tensors for i in range(levels))
    blocks = count(tensors, r"encoder\.down\.0\.block\.(\d+)\.conv2\.weight$")
    latent = shape_of(tensors, "encoder.conv_out.weight", 4)[0]
    config = VQGANConfig(
        codebook_size=codes,
        embed_dim=dim,
        latent_channels=latent,
        channels=first[0],
        widths=widths,
        blocks=blocks,
        decoder_blocks=blocks + 1,
        attention=attention,
        middle_attention="encoder.mid.attn_1.q.weight" in tensors,
        lookup=lookup_kind,
        resolution=resolution(settings),
    )
    check_settings(config, settings, remapped="quantize.used" in tensors)
    return config


def params(settings: Settings) -> Settings:
    """The part of a YAML that is about the first stage; empty if there is none."""
    inner = lookup(settings, "model", "params", "first_stage_config", "params")
    return inner or lookup(settings, "model", "params") or {}


def resolution(settings: Settings) -> int:
    return whole(params(settings), "ddconfig", "resolution") or ASSUMED_RESOLUTION


def check_settings(config: VQGANConfig, settings: Settings, remapped: bool) -> None:
    """Raise ValueError where the YAML says otherwise than the weights, or asks for what they do not show."""
    values, network = params(settings), lookup(params(settings), "ddconfig") or {}
    for key in ("double_z", "tanh_out", "give_pre_end"):
        if lookup(network, key):
            raise ValueError(f"expected a VQ model without {key}, got settings with it")
    if not remapped:
        agree("n_embed", whole(values, "n_embed"), config.codebook_size)
    agree("embed_dim", whole(values, "embed_dim"), config.embed_dim)
    agree("z_channels", whole(network, "z_channels"), config.latent_channels)
    agree("ch", whole(network, "ch"), config.channels)
    agree("num_res_blocks", whole(network, "num_res_blocks"), config.blocks)
    multipliers = lookup(network, "ch_mult")
    if isinstance(multipliers, list) and all(type(m) is int for m in multipliers):
        agree("ch_mult times ch", [m * config.channels for m in multipliers], list(config.widths))
    sides = lookup(network, "attn_resolutions")
    if isinstance(sides, list) and lookup(network, "resolution"):
        levels = [config.resolution >> i for i in range(len(config.widths))]
        agree("attention at", [side in sides for side in levels], list(config.attention))


def as_taming(config: VQGANConfig) -> TamingConfig | None:
    """The same shape as our own taming tokenizer has it; None if that one cannot be so."""
    multiples = all(width % config.channels == 0 for width in config.widths)
    if not (config.middle_attention and config.groups == GROUPS and multiples):
        return None
    sides = tuple(config.resolution >> i for i in range(len(config.widths)))
    return TamingConfig(
        codebook_size=config.codebook_size,
        embed_dim=config.embed_dim,
        latent_channels=config.latent_channels,
        channels=config.channels,
        channel_multipliers=tuple(width // config.channels for width in config.widths),
        blocks=config.blocks,
        attention_resolutions=tuple(side for side, has in zip(sides, config.attention) if has),
        resolution=config.resolution,
    )
