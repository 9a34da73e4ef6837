"""CSMoE's speed: its Soft MoE layer beside the public ones, the model beside its dense twin and the official CSMAE.

    uv run --group bench benchmarks/bench_model.py                     about four minutes on two cores
    uv run --group bench benchmarks/bench_model.py --quick             half a minute
    git clone https://github.com/jakhac/CSMAE && ... --official CSMAE  with the official code
    ... --device cuda --precision bf16                                 on a GPU

Everything runs in this process and takes turns, round by round; a ratio is the median over rounds of the other's time
by ours, so that above 1 ours is faster. The public layers are soft-moe-pytorch (lucidrains), soft-moe (bwconrad) and
soft-mixture-of-experts (fkodom), with equal experts, slots and hidden width; fkodom's, whose experts have one layer, is
given two of its own. They differ in what they normalise: the deviation of their outputs from ours, with our weights, is
printed beside the times.
"""

from __future__ import annotations

import argparse
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from timm.layers.mlp import Mlp
from torch import nn

from csmoe_model.config import DecoderConfig
from csmoe_model.cost import dense_macs, dense_twin, encoder_cost, soft_moe_macs, training_macs
from csmoe_model.device import find_device
from csmoe_model.nn.soft_moe import SoftMoE
from csmoe_model.official import official_config
from csmoe_model.presets import default_moe, preset
from csmoe_model.profiling.measure import describe_machine, interleave
from csmoe_model.profiling.trial import Trial
from csmoe_model.train.config import OptimiserConfig
from csmoe_model.train.schedule import build_optimiser

LAYERS = {  # module of each public layer, its distribution
    "soft_moe_pytorch": "soft-moe-pytorch",
    "soft_moe": "soft-moe",
    "soft_mixture_of_experts": "soft-mixture-of-experts",
}
NUM_EXPERTS, WIDTH = 4, 0.5
PRESETS = {"csmoe-tiny-p28": 8, "csmoe-tiny-p14": 4, "csmoe-small-p14": 4, "csmoe-base-p15": 4, "csmoe-base-p14": 2}
"""Preset -> places at once: 64 tokens for p28 and p15, 256 for p14."""
QUICK_PRESETS = ("csmoe-tiny-p28", "csmoe-tiny-p14")


def installed():
    """The public layers that can be imported; says which cannot."""
    found = {}
    for module, distribution in LAYERS.items():
        try:
            found[module] = import_module(module)
        except ImportError:
            print(f"{distribution} is not installed and left out")
    return found


@torch.no_grad()
def public_layers(found, ours, dim, slots, hidden):
    """The public layers that were found, with our weights."""
    phi, experts, layers = ours.router.phi, ours.experts, {}
    if module := found.get("soft_moe_pytorch"):
        layer = module.SoftMoE(dim, num_experts=NUM_EXPERTS, num_slots=slots, expert_mult=hidden / dim)
        layer.slot_embeds.copy_(phi.permute(1, 2, 0))
        give_linears(((one[0], one[-1]) for one in layer.experts.experts), experts)
        layers["lucidrains"] = layer
    if module := found.get("soft_moe"):
        layer = module.SoftMoELayerWrapper(dim, NUM_EXPERTS, slots, Mlp, in_features=dim, hidden_features=hidden)
        layer.phi.copy_(phi)
        give_linears(((one.fc1, one.fc2) for one in layer.experts), experts)
        layers["bwconrad"] = layer
    if module := found.get("soft_mixture_of_experts"):
        many = import_module("soft_mixture_of_experts.multi_expert").MultiExpertLayer
        layer = import_module("soft_mixture_of_experts.soft_moe").SoftMoE(dim, dim, NUM_EXPERTS, slots)
        layer.phi.copy_(phi)
        layer.experts = nn.Sequential(many(dim, hidden, NUM_EXPERTS), nn.GELU(), many(hidden, dim, NUM_EXPERTS))
        for own, weight, bias in ((0, experts.w1, experts.b1), (2, experts.w2, experts.b2)):
            layer.experts[own].weight.copy_(weight)
            layer.experts[own].bias.copy_(bias[:, 0])
        layers["fkodom"] = layer
    return layers


def give_linears(pairs, experts):
    """Copies our experts into pairs of linear layers."""
    for k, (first, second) in enumerate(pairs):
        first.weight.copy_(experts.w1[k].T), first.bias.copy_(experts.b1[k, 0])
        second.weight.copy_(experts.w2[k].T), second.bias.copy_(experts.b2[k, 0])


def forward_of(layer, x, autocast):
    def task():
        with torch.inference_mode(), autocast():
            layer(x)

    return task


def training_of(layer, x, autocast):
    x = x.clone().requires_grad_()

    def task():
        layer.zero_grad(set_to_none=True)
        x.grad = None
        with autocast():
            loss = layer(x).float().square().mean()
        loss.backward()

    return task


def bench_layers(options, autocast):
    found = installed()
    print(
        f"\nSoft MoE layer, {NUM_EXPERTS} experts {4 * WIDTH:g} d wide, {options.images} images; dense: the usual layer"
    )
    print(
        f"{'dim':>4} {'tokens':>6} {'slots':>5} {'pass':<8} {'ours ms':>8}  ratio of (and output's deviation from ours)"
    )
    for dim in (384,) if options.quick else (384, 768):
        for tokens, slots in ((64, 4), (256, 8)):
            hidden = int(dim * 4 * WIDTH)
            ours = SoftMoE(dim, NUM_EXPERTS, slots, hidden)
            layers = {"ours": ours, **public_layers(found, ours, dim, slots, hidden), "dense": Mlp(dim, 4 * dim)}
            layers = {name: layer.to(options.device) for name, layer in layers.items()}
            x = torch.randn(options.images, tokens, dim, device=options.device)
            with torch.no_grad():
                want = ours(x)
                off = {name: float((layer(x) - want).norm() / want.norm()) for name, layer in layers.items()}
            for label, make in (("forward", forward_of), ("training", training_of)):
                tasks = {name: make(layer, x, autocast) for name, layer in layers.items()}
                times = interleave(tasks, options.seconds, device=options.device)
                others = [name for name in layers if name != "ours"]
                cells = [
                    f"{name} {times[name].ratio(times['ours']):.2f}x"
                    + ("" if name == "dense" else f" ({off[name]:.2f})")
                    for name in others
                ]
                print(
                    f"{dim:>4} {tokens:>6} {NUM_EXPERTS * slots:>5} {label:<8} {times['ours'].median_s * 1e3:>8.2f}  "
                    + "  ".join(cells),
                    flush=True,
                )
            macs = dense_macs(tokens, dim, 4 * dim) / soft_moe_macs(tokens, dim, hidden, NUM_EXPERTS * slots)
            print(f"{'':>26}in multiply-adds: dense {macs:.2f}x")


def bench_twins(options):
    print("\nCSMoE beside its dense twin, one image of each of two sensors a place")
    print(f"{'preset':<16} {'places':>6} {'task':<14} {'csmoe ms':>9} {'dense ms':>9}  ratio   MACs  spread")
    for name in options.presets:
        places = options.places or PRESETS.get(name, 4)
        configs = {"csmoe": preset(name), "dense": dense_twin(preset(name))}
        trials = {
            kind: Trial(config, places, options.device, options.fabric_precision) for kind, config in configs.items()
        }
        for label, method, work in (
            ("encode whole", "encode", partial(encoding_macs, masked=False)),
            ("encode visible", "encode_visible", partial(encoding_macs, masked=True)),
            ("training step", "step", training_macs),
        ):
            tasks = {kind: getattr(trial, method) for kind, trial in trials.items()}
            times = interleave(tasks, options.seconds, device=options.device)
            own, dense = times["csmoe"], times["dense"]
            print(
                f"{name:<16} {places:>6} {label:<14} {own.median_s * 1e3:>9.1f} {dense.median_s * 1e3:>9.1f} "
                f"{dense.ratio(own):>5.2f}x {work(configs['dense']) / work(configs['csmoe']):>5.2f}x "
                f"{max(own.spread, dense.spread):>6.0%}",
                flush=True,
            )


def encoding_macs(config, *, masked):
    return sum(
        encoder_cost(config, name, patches=config.num_visible(name) if masked else None).macs for name in config.sensors
    )


def official_step(source, config, images, options, autocast):
    """A training step of the official code: its backbone, decoders and losses, and the same optimiser as ours."""
    from csmae_parity import import_official

    backbone_type, decoder_type, mse, mim = import_official(source)
    own, decoder = config.encoder, config.decoder
    backbone = backbone_type(
        img_size=config.image_px,
        patch_size=config.patch_px,
        embed_dim=own.dim,
        num_heads=own.heads,
        mlp_ratio=4,
        multi_sensor_encoder_depth=own.specific_depth,
        cross_sensor_encoder_depth=own.shared_depth,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        global_pool="avg",
        masking_strategy="random",
    )
    decoders = nn.ModuleDict(
        {
            name: decoder_type(
                own.dim,
                decoder.dim,
                decoder.depth,
                decoder.heads,
                config.num_patches,
                config.patch_px,
                decoding_strategy="specific",
                decoder_in_chans=sensor.num_bands,
            )
            for name, sensor in config.sensors.items()
        }
    )
    model = nn.ModuleDict({"backbone": backbone, "decoders": decoders}).to(options.device).train()
    optimiser = build_optimiser(model, OptimiserConfig())
    stacked = torch.cat([images["s2"], images["s1"]], dim=1)

    def task():
        optimiser.zero_grad(set_to_none=True)
        with autocast():
            found = backbone(stacked, 0.5)
            total = mim({"feats_s1": [found["s1"][0]], "feats_s2": [found["s2"][0]]}, 0.5)
            for sensor in images:
                for target, pixels in images.items():
                    predicted = decoders[target](found[sensor][1], found[sensor][3], target)
                    bands = pixels.shape[1]
                    total = total + mse(
                        pixels, predicted, found[sensor][2], config.patch_px, norm_pix_loss=False, num_channels=bands
                    )
        total.sum().backward()
        optimiser.step()

    return task


def bench_official(options, autocast):
    places = options.places or 4
    config = official_config("sesd")
    if options.quick:
        narrow = official_config("sesd", dim=192, heads=3)
        config = narrow.model_copy(update={"decoder": DecoderConfig(dim=128, heads=4, depth=4)})
    mixed = config.model_copy(
        update={"encoder": config.encoder.model_copy(update={"moe": default_moe(dense_twin(config))})}
    )
    trials = {
        name: Trial(one, places, options.device, options.fabric_precision)
        for name, one in (("ours, dense", config), ("ours, csmoe", mixed))
    }
    tasks = {name: trial.step for name, trial in trials.items()}
    images = trials["ours, dense"].images
    tasks["official"] = official_step(options.official, config, images, options, autocast)
    times = interleave(tasks, options.seconds, device=options.device)
    size = f"{config.encoder.dim} wide, {config.image_px} px, patch {config.patch_px}, {places} places"
    print(f"\ntraining step of CSMAE-SESD: the official code beside ours, {size}")
    for name, found in times.items():
        ratio = times["official"].ratio(found)
        print(f"{name:<12} {found.median_s * 1e3:>9.1f} ms   official / this {ratio:.2f}x   spread {found.spread:.0%}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small models and few rounds")
    parser.add_argument("--only", choices=("layers", "twins", "official"), help="one part")
    parser.add_argument("--presets", nargs="+", help="presets to hold against their twins")
    parser.add_argument("--places", type=int, help="places at once, for all models")
    parser.add_argument("--images", type=int, default=16, help="images at once, for layers")
    parser.add_argument("--seconds", type=float, help="time for each line; three rounds at least")
    parser.add_argument("--official", type=Path, help="checkout of the official CSMAE")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--precision", choices=("32", "bf16"), default="32", help="bf16: automatic mixed precision")
    parser.add_argument("--threads", type=int, help="threads of torch on the CPU")
    options = parser.parse_args()
    options.device = find_device(options.device).type
    if options.threads:
        torch.set_num_threads(options.threads)
    options.fabric_precision = "bf16-mixed" if options.precision == "bf16" else "32-true"
    options.seconds = options.seconds if options.seconds is not None else (0.8 if options.quick else 3.0)
    options.presets = options.presets or (QUICK_PRESETS if options.quick else tuple(PRESETS))
    autocast = partial(torch.autocast, options.device, dtype=torch.bfloat16, enabled=options.precision == "bf16")
    torch.manual_seed(0)
    print(", ".join(f"{key} {value}" for key, value in describe_machine(options.device).items()))
    if options.only in (None, "layers"):
        bench_layers(options, autocast)
    if options.only in (None, "twins"):
        bench_twins(options)
    if options.official and options.only in (None, "official"):
        bench_official(options, autocast)


if __name__ == "__main__":
    main()
