"""The commands that say how good features are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from csmoe_model.cli.options import Quiet

if TYPE_CHECKING:
    from csmoe_model.evaluation.comparison import Comparison
    from csmoe_model.evaluation.records import Record

app = typer.Typer(
    name="evaluate",
    help="Compare backbones: classification, segmentation, retrieval.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Data = Annotated[Path, typer.Option(help="Folder of the data set.", metavar="<path>")]
Format = Annotated[str | None, typer.Option(help="Layout of the data set.", show_default="recognised")]
Checkpoints = Annotated[
    list[Path] | None, typer.Option("--checkpoint", help="Checkpoint folder or run, repeatable.", metavar="<path>")
]
Peers = Annotated[
    list[str] | None,
    typer.Option("--peer", help="timm:NAME or torchgeo:NAME, =FILE for its weights; repeatable.", metavar="<name>"),
]
Floors = Annotated[bool, typer.Option(help="Image statistics and random weights too.")]
Slots = Annotated[
    list[int] | None,
    typer.Option(min=1, help="Checkpoints once more with so many slots an expert, repeatable: less cost."),
]
ImagePx = Annotated[int | None, typer.Option(help="Edge of the images.", show_default="each backbone's own")]
Normalised = Annotated[
    str, typer.Option("--normalise", help="auto, model or data: whose means and deviations standardise.")
]
Label = Annotated[str | None, typer.Option(help="Column of a manifest that holds the classes.")]
Manifest = Annotated[Path | None, typer.Option(help="Manifest of a chip store.", metavar="<path>")]
Metadata = Annotated[Path | None, typer.Option(help="BigEarthNet's metadata.parquet.", metavar="<path>")]
Option = Annotated[
    list[str] | None,
    typer.Option("--set", help="What the layout leaves open, as bands=B04,B03,B02; repeatable.", metavar="<key=value>"),
]
Seeds = Annotated[list[int] | None, typer.Option("--seed", help="Repeatable.", show_default="0")]
Batch = Annotated[int, typer.Option(min=1, help="Samples at once.")]
Workers = Annotated[int, typer.Option(min=0, help="Processes that load.")]
Device = Annotated[str, typer.Option(help="cpu or cuda.")]
Resamples = Annotated[int, typer.Option(min=0, help="For intervals; 0: none.")]
Unsound = Annotated[bool, typer.Option("--unsound", help="Go on although the pixels look wrong.")]
Out = Annotated[
    Path, typer.Option(help="Folder for results.json, table.md, figures.csv and pictures.", metavar="<path>")
]


@app.command()
def classification(
    data: Data,
    out: Out,
    checkpoint: Checkpoints = None,
    peer: Peers = None,
    slots: Slots = None,
    format: Format = None,
    method: Annotated[
        list[str] | None, typer.Option(help="knn, linear or finetune; repeatable.", show_default="knn and linear")
    ] = None,
    label: Label = None,
    manifest: Manifest = None,
    metadata: Metadata = None,
    option: Option = None,
    normalise: Normalised = "auto",
    image_px: ImagePx = None,
    floors: Floors = True,
    seed: Seeds = None,
    epochs: Annotated[int, typer.Option(min=1, help="Of fine-tuning.")] = 20,
    lr: Annotated[float, typer.Option(help="Of fine-tuning.")] = 1e-3,
    batch: Batch = 64,
    workers: Workers = 0,
    resamples: Resamples = 1000,
    unsound: Unsound = False,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Classify scenes by nearest neighbours, a linear probe or fine-tuning."""
    from csmoe_model.errors import ConfigError
    from csmoe_model.evaluation import comparison as runs
    from csmoe_model.evaluation.candidates import candidates
    from csmoe_model.evaluation.classification import ClassifyConfig
    from csmoe_model.evaluation.finetune import FinetuneConfig
    from csmoe_model.train.config import OptimiserConfig

    methods, seeds = method or ["knn", "linear"], seed or [0]
    if unknown := set(methods) - {"knn", "linear", "finetune"}:
        raise ConfigError(f"--method {', '.join(sorted(unknown))}: give knn, linear or finetune")
    layout = layout_options(label=label, manifest=manifest, metadata=metadata, seed=seeds[0], option=option)
    compared = opened(data, format, layout, normalise, device, batch, workers, resamples, unsound, quiet)
    backbones = candidates(compared.data, checkpoint or (), peer or (), slots or (), floors=floors, image_px=image_px)
    records: list[Record] = []
    if frozen := tuple(name for name in methods if name != "finetune"):
        config = ClassifyConfig(methods=frozen, seed=seeds[0], resamples=resamples)  # type: ignore[arg-type]
        records += runs.classification(compared, backbones, config)
    if "finetune" in methods:
        base = FinetuneConfig()
        tuned = base.model_copy(update={"epochs": epochs, "optimiser": base.optimiser.model_copy(update={"lr": lr})})
        assert isinstance(tuned.optimiser, OptimiserConfig)
        records += runs.finetuning(compared, backbones, tuned, seeds)
    finish(out, records)


@app.command()
def segmentation(
    data: Data,
    out: Out,
    checkpoint: Checkpoints = None,
    peer: Peers = None,
    slots: Slots = None,
    format: Format = None,
    head: Annotated[str, typer.Option(help="linear, upernet or dpt.")] = "linear",
    sensor: Annotated[str | None, typer.Option(help="One sensor alone.", show_default="all together")] = None,
    layer: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Block whose features the head sees, repeatable.", show_default="four, evenly spread"),
    ] = None,
    frozen: Annotated[bool, typer.Option("--frozen/--finetune", help="Whether the backbone stays as it is.")] = True,
    resize: Annotated[bool, typer.Option("--resize", help="Whole images, in place of windows.")] = False,
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    lr: Annotated[float, typer.Option(help="Of the head.")] = 1e-3,
    metadata: Metadata = None,
    option: Option = None,
    normalise: Normalised = "auto",
    image_px: ImagePx = None,
    floors: Floors = True,
    seed: Seeds = None,
    batch: Annotated[int, typer.Option(min=1, help="Windows at once.")] = 32,
    workers: Annotated[int, typer.Option(min=0, help="Threads that read ahead.")] = 2,
    resamples: Resamples = 1000,
    unsound: Unsound = False,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Segment images by a head on dense features."""
    from csmoe_model.evaluation import comparison as runs
    from csmoe_model.evaluation.candidates import candidates
    from csmoe_model.evaluation.mask_pictures import draw_masks
    from csmoe_model.evaluation.segment_batches import SegmentConfig

    seeds = seed or [0]
    if format is None and (data / "Reference_Maps").is_dir():
        format = "bigearthnet-maps"
    layout = layout_options(metadata=metadata, seed=seeds[0], option=option)
    compared = opened(data, format, layout, normalise, device, batch, workers, resamples, unsound, quiet)
    backbones = candidates(compared.data, checkpoint or (), peer or (), slots or (), floors=floors, image_px=image_px)
    base = SegmentConfig()
    settings: dict[str, Any] = {
        "head": head,
        "sensor": sensor,
        "frozen": frozen,
        "resize": resize,
        "epochs": epochs,
        "batch": batch,
    }
    settings["layers"] = tuple(layer) if layer else None
    config = SegmentConfig.model_validate(base.model_dump() | settings)
    out.mkdir(parents=True, exist_ok=True)

    def draw(extractor: Any, found: Any, own: Any) -> None:
        path = out / f"masks_{_file_name(extractor.name)}_{own.seed}.png"
        draw_masks(compared.data, found, own, path, device=compared.device)

    finish(out, list(runs.segmentation(compared, backbones, config, seeds, done=draw)))


@app.command()
def retrieval(
    data: Data,
    out: Out,
    checkpoint: Checkpoints = None,
    peer: Peers = None,
    slots: Slots = None,
    format: Format = None,
    query_split: Annotated[str, typer.Option(help="Of the queries.")] = "validation",
    archive_split: Annotated[str, typer.Option(help="Of what is searched.")] = "test",
    k: Annotated[list[int] | None, typer.Option("-k", help="Depth, repeatable.", show_default="5 and 10")] = None,
    beyond_km: Annotated[float | None, typer.Option(help="Once more without items this near to the query.")] = None,
    label: Label = None,
    manifest: Manifest = None,
    metadata: Metadata = None,
    option: Option = None,
    normalise: Normalised = "auto",
    image_px: ImagePx = None,
    floors: Floors = True,
    seed: Annotated[int, typer.Option(help="Of intervals and random weights.")] = 0,
    batch: Batch = 64,
    workers: Workers = 0,
    resamples: Resamples = 1000,
    unsound: Unsound = False,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Search in every direction between the sensors."""
    from csmoe_model.evaluation import comparison as runs
    from csmoe_model.evaluation.candidates import candidates
    from csmoe_model.evaluation.gallery import draw_gallery
    from csmoe_model.evaluation.retrieval import RetrievalConfig

    layout = layout_options(label=label, manifest=manifest, metadata=metadata, seed=seed, option=option)
    compared = opened(data, format, layout, normalise, device, batch, workers, resamples, unsound, quiet)
    backbones = candidates(compared.data, checkpoint or (), peer or (), slots or (), floors=floors, image_px=image_px)
    config = RetrievalConfig(
        query_split=query_split,
        archive_split=archive_split,
        depths=tuple(sorted(k or (5, 10))),
        beyond_km=beyond_km,
        resamples=resamples,
        seed=seed,
    )
    out.mkdir(parents=True, exist_ok=True)

    def draw(extractor: Any, found: Any, sources: Any) -> None:
        for direction in found.directions.values():
            name = direction.name.replace(">", "_to_")
            path = out / f"gallery_{_file_name(extractor.name)}_{name}.png"
            draw_gallery(compared.data, direction, path, sources=sources)

    finish(out, list(runs.retrieval(compared, backbones, config, done=draw)))


def layout_options(*, option: list[str] | None, **named: Any) -> Any:
    """Layout options from those of the command line."""
    from pydantic import ValidationError

    from csmoe_model.errors import ConfigError
    from csmoe_model.evaluation.layouts import LayoutOptions
    from csmoe_model.train.files import problems

    values = {key: value for key, value in named.items() if value is not None}
    for one in option or ():
        key, equals, value = one.partition("=")
        if not equals:
            raise ConfigError(f"--set {one}: give key=value")
        values[key] = value.split(",") if key in ("bands", "classes", "shares") else value
    try:
        return LayoutOptions.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"data set: {problems(error)}") from error


def opened(
    data: Path,
    format: str | None,
    layout: Any,
    normalise: str,
    device: str,
    batch: int,
    workers: int,
    resamples: int,
    unsound: bool,
    quiet: bool,
) -> Comparison:
    """The data set, checked."""
    from dataclasses import replace

    import torch

    from csmoe_model.cli.progress import counting
    from csmoe_model.errors import ConfigError
    from csmoe_model.evaluation.checks import check_data, require_sound
    from csmoe_model.evaluation.comparison import Comparison
    from csmoe_model.evaluation.layouts import open_set

    if normalise not in ("auto", "model", "data"):
        raise ConfigError(f"--normalise {normalise}: give auto, model or data")
    found = open_set(data, format, layout)
    return Comparison(
        data=replace(found, notes=(*found.notes, *map(str, check_data(found)))) if unsound else require_sound(found),
        normalise=normalise,  # type: ignore[arg-type]
        device=torch.device(device),
        batch=batch,
        workers=workers,
        resamples=resamples,
        counting=lambda name, total: counting(name, total, "samples", quiet=quiet),
    )


def finish(out: Path, records: list[Record]) -> None:
    """Writes results, and shows the table."""
    from csmoe_model.evaluation.comparison import write_results

    paths = write_results(out, records)
    typer.echo((out / "table.md").read_text(encoding="utf-8"))
    typer.echo("\n".join(map(str, paths)))


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)
