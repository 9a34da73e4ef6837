"""ONNX: pooled and dense features of one sensor or several, with the standardisation inside."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from csmoe_model.adapters.backbone import as_maps, layers_of, opened
from csmoe_model.adapters.bands import Standardise
from csmoe_model.errors import CheckpointError, ConfigError, ModelError
from csmoe_model.nn.model import CSMoE

OPSET = 18
"""Of the operators; the first with all that are used in the form that torch exports."""
TOLERANCE = 1e-4
"""Largest difference to torch, relative to the largest feature."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A file, checked."""

    path: Path
    size_bytes: int
    opset: int
    difference: float
    """Largest, relative to the largest feature."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class OnnxGraph(nn.Module):
    """Values of sensors in their units, NaN where invalid -> pooled (B, D) and dense (B, D, h, w) features of each.

    Args:
        model: Whose encoder.
        sensors: In the order of the inputs.
        layers: Blocks whose maps are given.

    Raises:
        ConfigError: There is no such sensor.
    """

    def __init__(self, model: CSMoE, sensors: Sequence[str], layers: Sequence[int]) -> None:
        super().__init__()
        if unknown := [name for name in sensors if name not in model.config.sensors]:
            raise ConfigError(f"the model has no sensor {', '.join(unknown)}: it has {', '.join(model.config.sensors)}")
        self.encoder, self.sensors, self.layers = model.encoder, tuple(sensors), tuple(layers)
        self.standardise = nn.ModuleDict({name: Standardise(model.config.sensors[name]) for name in sensors})

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names, in order: `s2_pooled`, `s2_layer3`, ..."""
        return tuple(
            f"{name}_{kind}" for name in self.sensors for kind in ("pooled", *(f"layer{k}" for k in self.layers))
        )

    def forward(self, *images: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) of each sensor."""
        out: list[Tensor] = []
        for name, x in zip(self.sensors, images, strict=True):
            features = self.encoder(name, self.standardise[name](x), layers=self.layers)
            out += [features.pooled, *(as_maps(tokens) for tokens in features.layers)]
        return tuple(out)


def export_onnx(
    checkpoint: Path, out: Path, sensors: Sequence[str] | None = None, layers: Sequence[int] | None = None
) -> Exported:
    """Writes a model of a dynamic batch and holds it against torch with onnxruntime.

    Args:
        checkpoint: Checkpoint, run or exported folder.
        out: A file that is not there yet.
        sensors: Default: all.
        layers: Blocks whose maps are wanted, negative ones from the end; default: the last.

    Raises:
        CheckpointError: The checkpoint cannot be loaded, or there is something at `out`.
        ConfigError: There is no such sensor or layer, or the extra is not installed.
        ModelError: What onnxruntime gives is not what torch gives; the file is removed.
    """
    onnx, runtime = _libraries()
    if out.exists():
        raise CheckpointError(f"file {out}: exists; choose another --out")
    model = opened(checkpoint, "")
    places = layers_of((-1,) if layers is None else layers, model.config.encoder.depth)
    graph = OnnxGraph(model, sensors or tuple(model.config.sensors), places).eval()
    out.parent.mkdir(parents=True, exist_ok=True)
    with _quiet():
        program = torch.onnx.export(
            graph,
            _examples(graph, model, 2),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.sensors),
            output_names=list(graph.outputs),
            dynamic_shapes=(tuple({0: torch.export.Dim("batch")} for _ in graph.sensors),),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    about = {name: model.config.sensors[name].model_dump(mode="json") for name in graph.sensors}
    onnx.helper.set_model_props(proto, {"sensors": json.dumps(about)})
    onnx.save_model(proto, str(out))
    difference = _difference(runtime.InferenceSession(str(out), providers=["CPUExecutionProvider"]), graph, model)
    if not difference <= TOLERANCE:
        out.unlink()
        raise ModelError(f"file {out}: onnxruntime is off by {difference:.1e} of the largest feature: removed")
    return Exported(
        path=out,
        size_bytes=out.stat().st_size,
        opset=OPSET,
        difference=difference,
        inputs=graph.sensors,
        outputs=graph.outputs,
    )


def _libraries() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401 - torch exports with it
    except ImportError as error:
        raise ConfigError(f'{error.name} is not installed: pip install "csmoe-model[onnx]"') from error
    return onnx, onnxruntime


def _examples(graph: OnnxGraph, model: CSMoE, batch: int) -> tuple[Tensor, ...]:
    """Values as the sensors have them, with a pixel that is not valid."""
    chance = torch.Generator().manual_seed(batch)
    images = []
    for name in graph.sensors:
        sensor, size = model.config.sensors[name], model.config.image_px
        noise = torch.randn(batch, sensor.num_bands, size, size, generator=chance)
        values = noise * torch.tensor(sensor.std)[:, None, None] + torch.tensor(sensor.mean)[:, None, None]
        values[0, 0, 0, 0] = torch.nan
        images.append(values)
    return tuple(images)


def _difference(session: Any, graph: OnnxGraph, model: CSMoE) -> float:
    """Largest over batches of one and of three, and over all outputs."""
    largest = 0.0
    for batch in (1, 3):
        images = _examples(graph, model, batch)
        found = session.run(None, {name: x.numpy() for name, x in zip(graph.sensors, images, strict=True)})
        with torch.no_grad():
            wanted = graph(*images)
        for one, other in zip(found, wanted, strict=True):
            scale = float(other.abs().max())
            largest = max(largest, float((torch.from_numpy(one) - other).abs().max()) / scale)
    return largest


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch's exporter says of its own parts."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(torch|onnx|copyreg)")
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"(torch|onnx|copyreg)")
        warnings.filterwarnings("ignore", message=r".*The axis name: batch will not be used", category=UserWarning)
        yield
