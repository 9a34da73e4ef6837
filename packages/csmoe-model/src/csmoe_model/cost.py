"""What a model costs, counted from its configuration: parameters and multiply-adds.

A multiply-add (MAC) is two operations (FLOP). Counted are the matrix products, as torch's counter does; norms, softmax
and activations are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

from csmoe_model.config import DecoderConfig, EncoderConfig, ModelConfig


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Multiply-adds of one image of one sensor through the encoder, or of a training pass."""

    patches: int
    attention: int
    ffn: int
    """Dense layers, or routers, mixing and experts."""

    @property
    def macs(self) -> int:
        """All of them."""
        return self.patches + self.attention + self.ffn


def moe_blocks(config: EncoderConfig | DecoderConfig) -> int:
    """Number of blocks with Soft mixture-of-experts on the path of a sensor."""
    return sum(config.moe.at(k) for k in range(config.depth)) if config.moe else 0


def attention_macs(tokens: int, dim: int) -> int:
    """Projections and the two products of tokens with tokens."""
    return 4 * tokens * dim**2 + 2 * tokens**2 * dim


def dense_macs(tokens: int, dim: int, hidden: int) -> int:
    """A two-layer perceptron on every token."""
    return 2 * tokens * dim * hidden


def soft_moe_macs(tokens: int, dim: int, hidden: int, slots: int) -> int:
    """Logits, dispatch and combine, then the experts on `slots` slots in all (arXiv 2308.00951, section 2.3)."""
    return 3 * tokens * slots * dim + 2 * slots * dim * hidden


def ffn_macs(config: EncoderConfig | DecoderConfig, tokens: int, slots: int | None = None) -> int:
    """The feed-forward layers, dense and mixed, of all blocks; `slots` as for `encoder_cost`."""
    hidden, sparse = int(config.dim * config.mlp_ratio), moe_blocks(config)
    macs = (config.depth - sparse) * dense_macs(tokens, config.dim, hidden)
    if config.moe:
        used = min(slots or config.moe.slots_per_expert, config.moe.slots_per_expert) * config.moe.experts
        macs += sparse * soft_moe_macs(tokens, config.dim, max(1, round(hidden * config.moe.width)), used)
    return macs


def encoder_cost(config: ModelConfig, sensor: str, *, patches: int | None = None, slots: int | None = None) -> Cost:
    """The cost of one image of a sensor through the encoder.

    Args:
        config: The model.
        sensor: Name.
        patches: Visible ones; all by default.
        slots: Slots an expert uses; all by default.
    """
    own = config.encoder
    seen = config.num_patches if patches is None else patches
    tokens = seen + config.cls_token
    return Cost(
        patches=config.num_patches * config.patch_px**2 * config.sensors[sensor].num_bands * own.dim,
        attention=own.depth * attention_macs(tokens, own.dim),
        ffn=ffn_macs(own, tokens, slots),
    )


def decoder_macs(config: ModelConfig, source: str, target: str) -> int:
    """Multiply-adds of one decoder pass for one image."""
    own = config.decoder
    seen = config.num_visible(source) + config.cls_token
    tokens = config.num_patches + config.cls_token
    blocks = own.depth * attention_macs(tokens, own.dim) + ffn_macs(own, tokens)
    head = config.num_patches * own.dim * config.patch_px**2 * config.sensors[target].num_bands
    return seen * config.encoder.dim * own.dim + blocks + head


def decoder_passes(config: ModelConfig) -> tuple[tuple[str, str], ...]:
    """(source, target) of the decoder passes of a training step: those whose term has a weight."""
    return tuple(
        (source, target)
        for source in config.sensors
        for target in config.sensors
        if (config.loss.umr if source == target else config.loss.cmr)
    )


def training_macs(config: ModelConfig) -> int:
    """Multiply-adds of a training step for one place: encoders on visible patches, decoder passes, and back.

    The way back is twice the way there, less the gradient of the images, which nobody needs, plus the scores of the
    attention once more, which fused attention recomputes. The contrast of a batch, 4 B d a place, is left out.
    Retrieval heads ask for a second encoding, of the hidden patches.
    """
    passes = decoder_passes(config)
    seen = [(name, config.num_visible(name)) for name in config.sensors]
    if config.retrieval:
        seen += [(name, config.num_patches - config.num_visible(name)) for name in config.sensors]
    encoding = [encoder_cost(config, name, patches=patches) for name, patches in seen]
    forward = sum(cost.macs for cost in encoding) + sum(decoder_macs(config, *one) for one in passes)
    encoder, decoder = config.encoder, config.decoder
    if heads := config.retrieval:  # of each sensor two views in the same-sensor head, one in the other
        forward += 3 * len(config.sensors) * heads.hidden * (encoder.dim + heads.dim)
    scores = sum((patches + config.cls_token) ** 2 for _, patches in seen)
    again = encoder.depth * encoder.dim * scores
    again += len(passes) * decoder.depth * decoder.dim * (config.num_patches + config.cls_token) ** 2
    return 3 * forward - sum(cost.patches for cost in encoding) + again


def dense_twin(config: ModelConfig) -> ModelConfig:
    """The same model with dense feed-forward layers."""
    parts = {name: getattr(config, name).model_copy(update={"moe": None}) for name in ("encoder", "decoder")}
    return config.model_copy(update=parts)


def slimmed(config: ModelConfig, share: float) -> ModelConfig:
    """The dense twin made narrower until its encoder costs about `share` of it: the control of every saving.

    Heads keep their width; the number of heads shrinks.
    """
    twin = dense_twin(config)
    sensor = next(iter(config.sensors))
    goal = share * encoder_cost(twin, sensor).macs
    width = config.encoder.dim // config.encoder.heads
    candidates = [
        twin.model_copy(update={"encoder": twin.encoder.model_copy(update={"dim": heads * width, "heads": heads})})
        for heads in range(1, config.encoder.heads + 1)
    ]
    return min(candidates, key=lambda one: abs(encoder_cost(one, sensor).macs - goal))
