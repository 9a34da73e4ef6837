"""Stand-ins for libraries that are not installed, as far as our adapters touch them, and exported models to try.

Where the library is there, the real one is taken.
"""

import importlib
import sys
import types
import warnings
from dataclasses import dataclass

import torch
from torch import nn

from csmoe_model.nn.model import CSMoE
from csmoe_model.train.checkpoint import State, load_model, save_checkpoint
from csmoe_model.train.schedule import build_optimiser
from model.small_models import train_config


def checkpoint_of(folder, config=None, seed=3):
    """A checkpoint of seven steps, and its model."""
    config = config or train_config()
    torch.manual_seed(seed)
    model = CSMoE(config.model)
    state = State(step=7, data="d1935t", sample={"region": "6,0,9,3", "rows": 1234})
    path = save_checkpoint(folder, model, build_optimiser(model, config.optimiser), state, config, 1)
    return path, load_model(path)


def real(name):
    """Whether a library is there; its own warnings on import are its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            importlib.import_module(name)
    except ImportError:
        return False
    return True


class _Registry:
    def __init__(self):
        self.built = {}

    def register(self, builder):
        self.built[builder.__name__] = builder
        return builder

    def build(self, name, **kwargs):
        return self.built[name](**kwargs)


class _Encoder(nn.Module):
    def __init__(self, **values):
        super().__init__()
        assert values["output_dim"] and values["download_url"] == ""
        values["output_dim"] = [values["output_dim"] for _ in values["output_layers"]]
        for name, value in values.items():
            setattr(self, name, value)


@dataclass(frozen=True)
class _BandSpec:
    sensor: str
    name: str
    source_name: str
    mean: float
    std: float
    min: float
    max: float
    wavelength_um: float | None = None


class _BenchModel(nn.Module):
    def __init__(self, bands, normalization, **_):
        super().__init__()
        assert normalization == "identity"
        self.bands = bands

    def forward(self, images):
        return self._forward_patch_features(images)


def _terratorch():
    registry = _Registry()
    return {"terratorch.registry": {"TERRATORCH_BACKBONE_REGISTRY": registry, "BACKBONE_REGISTRY": registry}}


STANDS = {
    "terratorch": _terratorch,
    "pangaea": lambda: {"pangaea.encoders": {}, "pangaea.encoders.base": {"Encoder": _Encoder}},
    "torchgeo_bench": lambda: {
        "torchgeo_bench.datasets": {},
        "torchgeo_bench.datasets.base": {"BandSpec": _BandSpec},
        "torchgeo_bench.models": {},
        "torchgeo_bench.models.interface": {"BenchModel": _BenchModel},
    },
}
ADAPTERS = {"terratorch": "terratorch", "pangaea": "pangaea", "torchgeo_bench": "geobench"}


def stand_in(monkeypatch, library):
    """Puts a stand-in where the library would be."""
    for name, members in ({library: {}} | STANDS[library]()).items():
        module = types.ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)


def forget(library):
    """Takes our adapter out again, so that the next one imports what is there then."""
    sys.modules.pop(f"csmoe_model.adapters.{ADAPTERS[library]}", None)
