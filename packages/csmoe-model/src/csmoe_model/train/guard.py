"""A guard over the steps: those that are not finite or far too large are left out, and too many end the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from csmoe_model.errors import TrainingError
from csmoe_model.train.config import GuardConfig

_WINDOW = 101
_ENOUGH = 20
"""Steps before there is a usual loss."""
_NAMED = 3


class StepGuard:
    """Judges the steps of a run, one after the other.

    Args:
        config: Limits.
        recent: Losses of the steps before, oldest first, to go on from.
        left_out: Steps in a row that were left out just before.
    """

    def __init__(self, config: GuardConfig, recent: Sequence[float] = (), left_out: int = 0) -> None:
        self._config = config
        self.recent = list(recent)
        self.left_out = left_out

    def admits(self, loss: float, norm: float) -> bool:
        """Whether a step may be taken.

        Args:
            loss: Of the step, over all processes.
            norm: Of its gradient.
        """
        high = self._config.spike * max(self._usual(), 1e-3)
        if math.isfinite(loss) and math.isfinite(norm) and loss <= high:
            self.left_out = 0
            self.recent = [*self.recent, loss][-_WINDOW:]
            return True
        self.left_out += 1
        return False

    def report(self, step: int, loss: float, errors: Sequence[tuple[str, float]]) -> str:
        """A line about the step that was left out.

        Args:
            step: Its number.
            loss: Its loss.
            errors: Tile and reconstruction error of all its places.

        Raises:
            TrainingError: It was one too many; the line is in the message.
        """
        usual = self._usual()
        suspects = [(tile, error) for tile, error in errors if not math.isfinite(error)]
        suspects = suspects or sorted(errors, key=lambda one: -one[1])
        named = ", ".join(f"{tile} ({error:.3g})" for tile, error in suspects[:_NAMED])
        seen = f"step {step}: loss {loss:.4g}" + (f" where {usual:.4g} is usual" if math.isfinite(usual) else "")
        if self.left_out >= self._config.patience:
            raise TrainingError(
                f"{seen}, step {self.left_out} in a row to be left out; the largest errors of its places are {named}: "
                "look at these chips, then --resume with a larger guard.patience, or begin again with a lower rate"
            )
        return f"{seen}: left out; the largest errors of its places are {named}"

    def _usual(self) -> float:
        return median(self.recent) if len(self.recent) >= _ENOUGH else math.inf
