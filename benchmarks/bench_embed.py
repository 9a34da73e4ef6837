"""Tiles/s of `embed`, beside the bare encoder on images that are ready and the bare loader.

    python benchmarks/bench_embed.py --checkpoint runs/a --manifest out.parquet [--chips chips.zarr]
        [--batch 64] [--workers 2] [--device cpu] [--threads 1] [--seconds 10]

The encoder alone runs the same batch of images of every sensor again and again; the loader alone only takes batches.
What `embed` is slower than the slower of both is what rows, places and files cost. Pixels are in the page cache.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch

from csmoe_model.embedding.embedder import EmbedConfig, Embedder
from csmoe_model.embedding.write import write_embeddings


def pace(work, seconds):
    """Tiles/s; `work` says how many it has done."""
    work()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        done += work()
    return done / (time.perf_counter() - start)


def encoder_alone(embedder, config, seconds):
    model, device = embedder._model, torch.device(config.device)
    about, size = model.config, min(config.batch, embedder.num_tiles)
    images = {
        name: torch.randn(size, sensor.num_bands, about.image_px, about.image_px, device=device)
        for name, sensor in about.sensors.items()
    }

    @torch.inference_mode()
    def work():
        for name, pixels in images.items():
            model.encoder(name, pixels).pooled.float().cpu()
        return size

    return pace(work, seconds)


class Silent(Embedder):
    """Takes batches and makes nothing of them."""

    def _embedded(self, batch, waited_s):
        return len(batch)


def loader_alone(embedder):
    start = time.perf_counter()
    done = sum(embedder.batches(0))
    return done / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--chips", type=Path)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="for the encoder alone")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    config = EmbedConfig(batch=arguments.batch, workers=arguments.workers, device=arguments.device)
    chips = arguments.chips or arguments.manifest.with_name("chips.zarr")
    places = arguments.checkpoint, arguments.manifest, chips
    embedder = Embedder(*places, config)
    loader = loader_alone(Silent(*places, config))
    with tempfile.TemporaryDirectory() as folder:
        found = write_embeddings(embedder, Path(folder) / "embeddings.parquet")
        megabytes = (Path(folder) / "embeddings.parquet").stat().st_size / 1e6
    encoder = encoder_alone(embedder, config, arguments.seconds)
    own = found.num_made / found.seconds
    print(f"{found.num_made:,} tiles, {found.rows:,} rows, {megabytes:.1f} MB; batch {arguments.batch}")
    print(f"{'encoder alone, images ready':34}{encoder:8.1f} tiles/s")
    print(f"{f'loader alone, {arguments.workers} workers':34}{loader:8.1f} tiles/s")
    print(f"{'embed':34}{own:8.1f} tiles/s   {own / min(encoder, loader):.2f} of the slower of both")
    print(f"{'waiting for pixels':34}{found.waited_s / found.seconds:8.1%} of the time")


if __name__ == "__main__":
    main()
