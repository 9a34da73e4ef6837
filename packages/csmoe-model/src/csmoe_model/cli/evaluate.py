"""The commands that say how good features are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from csmoe_model.cli.comparing import checked, finish, gathered, new, opened
from csmoe_model.cli.options import Device, Quiet, Setting, layout_options

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
    typer.Option(
        metavar="<int>", min=1, help="Checkpoints once more with so many slots an expert, repeatable: less cost."
    ),
]
ImagePx = Annotated[int | None, typer.Option(help="Edge of the images.", show_default="each backbone's own")]
Normalised = Annotated[
    str, typer.Option("--normalise", help="auto, model or data: whose means and deviations standardise.")
]
Label = Annotated[str | None, typer.Option(help="Column of a manifest that holds the classes.")]
Manifest = Annotated[Path | None, typer.Option(help="Manifest of a chip store.", metavar="<path>")]
Metadata = Annotated[Path | None, typer.Option(help="BigEarthNet's metadata.parquet.", metavar="<path>")]
Seeds = Annotated[
    list[int] | None,
    typer.Option(
        "--seed",
        min=0,
        metavar="<int>",
        help="Of what is trained, repeatable; the first of the rest.",
        show_default="0",
    ),
]
Batch = Annotated[int, typer.Option(metavar="<int>", min=1, help="Samples at once.")]
Workers = Annotated[int, typer.Option(metavar="<int>", min=0, help="Processes that load.")]
Resamples = Annotated[int, typer.Option(metavar="<int>", min=0, help="For intervals; 0: none.")]
Unsound = Annotated[bool, typer.Option("--unsound", help="Go on although the pixels look wrong.")]
Out = Annotated[
    Path, typer.Option(help="Folder for results.json, table.md, figures.csv and pictures; a new one.", metavar="<path>")
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
        list[str] | None,
        typer.Option(metavar="<name>", help="knn, linear or finetune; repeatable.", show_default="knn and linear"),
    ] = None,
    label: Label = None,
    manifest: Manifest = None,
    metadata: Metadata = None,
    option: Setting = None,
    normalise: Normalised = "auto",
    image_px: ImagePx = None,
    floors: Floors = True,
    seed: Seeds = None,
    epochs: Annotated[int, typer.Option(metavar="<int>", min=1, help="Of fine-tuning.")] = 20,
    lr: Annotated[float, typer.Option(help="Of fine-tuning.")] = 1e-3,
    batch: Batch = 64,
    workers: Workers = 0,
    resamples: Resamples = 1000,
    unsound: Unsound = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Classify scenes: k-NN, a linear probe or fine-tuning."""
    from itertools import chain

    from csmoe_model.errors import ConfigError
    from csmoe_model.evaluation import protocols
    from csmoe_model.evaluation.candidates import candidates
    from csmoe_model.evaluation.classification import ClassifyConfig
    from csmoe_model.evaluation.finetune import FinetuneConfig

    new(out)
    methods, seeds = method or ["knn", "linear"], seed or [0]
    if unknown := set(methods) - {"knn", "linear", "finetune"}:
        raise ConfigError(f"--method {', '.join(sorted(unknown))}: give knn, linear or finetune")
    frozen = tuple(name for name in methods if name != "finetune")
    config = checked(ClassifyConfig, methods=frozen, seed=seeds[0], resamples=resamples)
    tuning = checked(FinetuneConfig, epochs=epochs, batch=batch, lr=lr)
    layout = layout_options(label=label, manifest=manifest, metadata=metadata, option=option)
    loading = {"batch": batch, "workers": workers, "resamples": resamples}
    compared = opened(data, format, layout, normalise=normalise, device=device, unsound=unsound, quiet=quiet, **loading)
    backbones = candidates(compared.data, checkpoint or (), peer or (), slots or (), floors=floors, image_px=image_px)
    found = gathered(
        out,
        chain(
            protocols.classification(compared, backbones, config) if frozen else (),
            protocols.finetuning(compared, backbones, tuning, seeds) if "finetune" in methods else (),
        ),
    )
    finish(out, found)


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
        typer.Option(
            metavar="<int>",
            min=0,
            help="Block whose features the head sees, repeatable.",
            show_default="four, evenly spread",
        ),
    ] = None,
    frozen: Annotated[bool, typer.Option("--frozen/--finetune", help="Whether the backbone stays as it is.")] = True,
    resize: Annotated[bool, typer.Option("--resize", help="Whole images, in place of windows.")] = False,
    epochs: Annotated[int, typer.Option(metavar="<int>", min=1, help="Of training.")] = 20,
    lr: Annotated[float, typer.Option(help="Of the head.")] = 1e-3,
    metadata: Metadata = None,
    option: Setting = None,
    normalise: Normalised = "auto",
    image_px: ImagePx = None,
    floors: Floors = True,
    seed: Seeds = None,
    batch: Annotated[int, typer.Option(metavar="<int>", min=1, help="Windows at once.")] = 32,
    workers: Annotated[int, typer.Option(metavar="<int>", min=0, help="Threads that read ahead.")] = 2,
    resamples: Resamples = 1000,
    unsound: Unsound = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Segment images by a head on dense features."""
    from csmoe_model.evaluation import protocols
    from csmoe_model.evaluation.candidates import candidates
    from csmoe_model.evaluation.mask_pictures import draw_masks
    from csmoe_model.evaluation.segment_batches import SegmentConfig

    new(out)
    if format is None and (data / "Reference_Maps").is_dir():
        format = "bigearthnet-maps"
    config = checked(
        SegmentConfig,
        head=head,
        sensor=sensor,
        layers=tuple(layer) if layer else None,
        frozen=frozen,
        augment=not frozen,
        resize=resize,
        epochs=epochs,
        lr=lr,
        batch=batch,
        workers=workers,
    )
    layout = layout_options(metadata=metadata, option=option)
    loading = {"batch": batch, "workers": workers, "resamples": resamples}
    compared = opened(data, format, layout, normalise=normalise, device=device, unsound=unsound, quiet=quiet, **loading)
    backbones = candidates(compared.data, checkpoint or (), peer or (), slots or (), floors=floors, image_px=image_px)

    def draw(extractor: Any, found: Any, own: Any) -> None:
        path = out / f"masks_{_file_name(extractor.name)}_{own.seed}.png"
        draw_masks(compared.data, found, own, path, device=compared.device)

    finish(out, gathered(out, protocols.segmentation(compared, backbones, config, seed or [0], done=draw)))


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
    k: Annotated[
        list[int] | None,
        typer.Option(
            "--depth", "-k", metavar="<int>", help="Of lists of answers, repeatable.", show_default="5 and 10"
        ),
    ] = None,
    beyond_km: Annotated[float | None, typer.Option(help="Once more without items this near to the query.")] = None,
    label: Label = None,
    manifest: Manifest = None,
    metadata: Metadata = None,
    option: Setting = None,
    normalise: Normalised = "auto",
    image_px: ImagePx = None,
    floors: Floors = True,
    seed: Annotated[int, typer.Option(metavar="<int>", min=0, help="Of intervals and random weights.")] = 0,
    batch: Batch = 64,
    workers: Workers = 0,
    resamples: Resamples = 1000,
    unsound: Unsound = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Search in every direction between the sensors."""
    from csmoe_model.evaluation import protocols
    from csmoe_model.evaluation.candidates import candidates
    from csmoe_model.evaluation.gallery import draw_gallery
    from csmoe_model.evaluation.records import FLOORS
    from csmoe_model.evaluation.retrieval import RetrievalConfig

    new(out)
    config = checked(
        RetrievalConfig,
        query_split=query_split,
        archive_split=archive_split,
        depths=tuple(sorted(k or (5, 10))),
        beyond_km=beyond_km,
        resamples=resamples,
        seed=seed,
    )
    layout = layout_options(label=label, manifest=manifest, metadata=metadata, option=option)
    loading = {"batch": batch, "workers": workers, "resamples": resamples}
    compared = opened(data, format, layout, normalise=normalise, device=device, unsound=unsound, quiet=quiet, **loading)
    backbones = candidates(compared.data, checkpoint or (), peer or (), slots or (), floors=floors, image_px=image_px)

    def draw(extractor: Any, found: Any, sources: Any) -> None:
        if extractor.kind in FLOORS:
            return
        for direction in found.directions.values():
            name = direction.name.replace(">", "_to_")
            path = out / f"gallery_{_file_name(extractor.name)}_{name}.png"
            draw_gallery(compared.data, direction, path, sources=sources)

    finish(out, gathered(out, protocols.retrieval(compared, backbones, config, done=draw)))


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in name)
