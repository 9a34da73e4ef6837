"""A model in the layout of the Hugging Face Hub: config.json, model.safetensors, README.md.

The two first ones are a checkpoint of ours, so that every command opens the folder too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin, snapshot_download

from csmoe_model.adapters.card import Origin, blank_images, model_card
from csmoe_model.adapters.card_results import evaluation
from csmoe_model.config import ModelConfig
from csmoe_model.nn.model import CSMoE
from csmoe_model.train.checkpoint import CONFIG, WEIGHTS, load_weights, read_config, resolve, save_model
from csmoe_model.train.config import TrainConfig

CARD = "README.md"
_USE = """\
import torch
from csmoe_model.adapters.huggingface import HubModel

model = HubModel.from_pretrained(".")  # or the name of a repository
features = model.encode({images})"""


class HubModel(CSMoE, PyTorchModelHubMixin):
    """A CSMoE with `from_pretrained` and `save_pretrained`.

    Args:
        config: Of the run that it comes from; its `model` decides the shape.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config.model)
        self.training_config = config

    def _save_pretrained(self, save_directory: Path) -> None:
        """Weights and configuration; the mixin has made the folder already."""
        draft = save_model(save_directory / ".draft", self, self.training_config)
        for name in (WEIGHTS, CONFIG):
            (draft / name).replace(save_directory / name)
        draft.rmdir()
        card = model_card(self.config, num_parameters(self), use(self.config))
        (save_directory / CARD).write_text(card, encoding="utf-8")

    @classmethod
    def _from_pretrained(cls, *, model_id: str, config: Mapping[str, Any] | None = None, **download: Any) -> HubModel:
        """Loaded as any checkpoint: every name, shape and type must fit, and no pickle is read (the mixin would)."""
        del config  # as the mixin has read it, unchecked
        folder = Path(model_id)
        if not folder.is_dir():
            folder = Path(snapshot_download(model_id, allow_patterns=[WEIGHTS, CONFIG], **download))
        return loaded(folder)


def loaded(folder: Path) -> HubModel:
    """The model of a checkpoint, run or exported folder, in evaluation mode.

    Raises:
        CheckpointError: It cannot be loaded.
    """
    place = resolve(folder)
    model = HubModel(read_config(place))
    load_weights(model, place)
    return model.eval()


def export_huggingface(checkpoint: Path, out: Path, results: Sequence[Path] = ()) -> Path:
    """Writes a checkpoint in the layout of the Hub into a new folder, with tables of results on its card; its path.

    Raises:
        CheckpointError: It cannot be loaded, `out` exists, or cannot be written.
        ConfigError: Results are not of this model.
        DataError: They cannot be read.
    """
    model = loaded(checkpoint)
    tables, origin = evaluation(checkpoint, results), Origin.of(resolve(checkpoint))
    card = model_card(model.config, num_parameters(model), use(model.config), origin=origin, tables=tables)
    save_model(out, model, model.training_config)
    (out / CARD).write_text(card, encoding="utf-8")
    return out


def use(config: ModelConfig) -> str:
    """Python that loads the folder that it runs in."""
    return _USE.format(images=blank_images(config))


def num_parameters(model: CSMoE) -> int:
    """Of the whole model, decoders included."""
    return sum(parameter.numel() for parameter in model.parameters())
