"""What a single step knows: where on the walk it stands, and where noise comes from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moment:
    """One point of the walk, in the variance-preserving view x = alpha·x0 + sigma·noise, alpha² + sigma² = 1.

    Attributes:
        index: 0 for the first step.
        timestep: The model's clock, on its device; may be fractional.
        alpha: Host number, so that using it never waits for the device.
        sigma: Likewise.
        prediction_type: What the model predicts: ``epsilon``, ``v_prediction`` or ``sample``.
    """

    index: int
    timestep: Tensor
    alpha: float
    sigma: float
    prediction_type: str = "epsilon"

    @property
    def ratio(self) -> float:
        """sigma / alpha: the noise level of x0 + ratio·noise, "sigma" in arXiv:2206.00364."""
        return self.sigma / self.alpha

    def denoised(self, model_input: Tensor, prediction: Tensor) -> Tensor:
        """The estimate of x0, (B, C, h, w), from what the model saw and said."""
        if self.prediction_type == "v_prediction":  # arXiv:2202.00512, appendix D: x0 = alpha x - sigma v
            return self.alpha * model_input - self.sigma * prediction
        if self.prediction_type == "sample":
            return prediction
        return (model_input - self.sigma * prediction) / self.alpha  # arXiv:2006.11239, eq. 15

    def noise(self, model_input: Tensor, prediction: Tensor) -> Tensor:
        """The estimate of the noise in ``model_input``, (B, C, h, w)."""
        if self.prediction_type == "v_prediction":  # eps = sigma x + alpha v
            return self.sigma * model_input + self.alpha * prediction
        if self.prediction_type == "sample":
            return (model_input - self.alpha * prediction) / self.sigma
        return prediction


class NoiseSource:
    """Standard normal noise of one picture, the same on every device.

    It is drawn on the CPU in float32 from the picture's own seed, so a picture depends neither on the device nor
    on what was drawn before it.
    """

    def __init__(self, seed: int, shape: tuple[int, int, int, int], device: torch.device) -> None:
        self.generator = torch.Generator("cpu").manual_seed(seed)
        self._shape = shape
        self._device = device

    def draw(self) -> Tensor:
        """(B, C, h, w) float32 on the device; the host does not wait for the copy."""
        noise = torch.randn(
            self._shape, generator=self.generator, dtype=torch.float32, pin_memory=self._device.type == "cuda"
        )
        return noise.to(self._device, non_blocking=True)
