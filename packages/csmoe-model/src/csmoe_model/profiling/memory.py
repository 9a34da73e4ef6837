"""Peak memory of encoding and of training.

On a GPU it is what torch has allocated at most. On a CPU torch keeps no account, so that a fresh process runs the model
alone, and the growth of its largest resident size is taken: `VmHWM` where /proc has it, else `ru_maxrss`, which can
hide a small model behind the memory of the process that started it. The baseline is taken after a very small model has
run, so that libraries and their buffers are not counted; what the allocator holds back is.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from csmoe_model.config import DecoderConfig, EncoderConfig, ModelConfig
from csmoe_model.profiling.trial import Precision, Trial

_TINY = ModelConfig(
    image_px=16,
    patch_px=8,
    encoder=EncoderConfig(dim=8, heads=2, specific_depth=1, shared_depth=1),
    decoder=DecoderConfig(dim=8, heads=2, depth=1),
)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peaks of a model and its batch."""

    encode_bytes: int
    """Weights, images and activations of encoding."""
    train_bytes: int
    """The same with gradients and AdamW's state, of a training step."""


def peak_memory(config: ModelConfig, batch: int, device: str, precision: Precision) -> Memory | None:
    """The peaks of a model; None where the process that was to measure them has died, as for want of memory."""
    if device == "cuda":
        return _on_cuda(config, batch, precision)
    order = {"config": config.model_dump(mode="json"), "batch": batch, "precision": precision}
    done = subprocess.run(
        [sys.executable, "-m", "csmoe_model.profiling.memory"],
        input=json.dumps(order | {"threads": torch.get_num_threads()}),
        capture_output=True,
        text=True,
        check=False,
    )
    return Memory(**json.loads(done.stdout)) if done.returncode == 0 else None


def _on_cuda(config: ModelConfig, batch: int, precision: Precision) -> Memory:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    trial = Trial(config, batch, "cuda", precision)
    torch.cuda.reset_peak_memory_stats()
    trial.encode()
    encoding = torch.cuda.max_memory_allocated() - before
    for _ in range(2):  # the state of the optimiser is there from the second step on
        trial.step()
    return Memory(encode_bytes=encoding, train_bytes=torch.cuda.max_memory_allocated() - before)


def _in_this_process(config: ModelConfig, batch: int, precision: Precision) -> Memory:
    """Peaks of a process that does nothing else."""
    warm = Trial(_TINY, 2, "cpu", precision)
    warm.encode()
    warm.step()
    before = resident_peak_bytes()
    trial = Trial(config, batch, "cpu", precision)
    trial.encode()
    encoding = resident_peak_bytes() - before
    for _ in range(2):  # the state of the optimiser is there from the second step on
        trial.step()
    return Memory(encode_bytes=encoding, train_bytes=resident_peak_bytes() - before)


def resident_peak_bytes() -> int:
    """The largest resident size of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Reads an order from stdin, writes the peaks to stdout."""
    order = json.load(sys.stdin)
    torch.set_num_threads(order["threads"])
    found = _in_this_process(ModelConfig.model_validate(order["config"]), order["batch"], order["precision"])
    sys.stdout.write(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
