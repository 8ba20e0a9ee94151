"""What a single call of the model knows: where on the walk it stands, and where noise comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fooocus_lite.engine.levels import EDM_DATA_STD


@dataclass(frozen=True)
class Moment:
    """One point of the walk as the model sees it: x = alpha·x0 + sigma·noise.

    Variance-preserving, alpha² + sigma² = 1, for a model with a table of levels; alpha + sigma = 1 for a flow model.

    Attributes:
        index: The step; 0 for the first. A step may have several moments.
        timestep: The model's clock, on its device; may be fractional.
        alpha: Host number, so that using it never waits for the device.
        sigma: Likewise.
        prediction_type: What the model predicts: ``epsilon``, ``v_prediction``, ``sample``, ``flow_prediction``
            (noise - x0) or ``edm`` (F of arXiv:2206.00364, eq. 7).
        progress: How far the model's clock has run: 0 at the most noise, 1 at none.
    """

    index: int
    timestep: Tensor
    alpha: float
    sigma: float
    prediction_type: str = "epsilon"
    progress: float = 0.0

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
        if self.prediction_type == "flow_prediction":  # arXiv:2209.03003, eq. 1: x0 = x - t (noise - x0)
            return model_input - self.sigma * prediction
        if self.prediction_type == "edm":  # arXiv:2206.00364, table 1: c_skip and c_out, by c_in = alpha
            return (EDM_DATA_STD**2 * self.alpha) * model_input + (EDM_DATA_STD * self.sigma) * prediction
        return (model_input - self.sigma * prediction) / self.alpha  # arXiv:2006.11239, eq. 15

    @property
    def slope(self) -> float:
        """By how much the estimate of x0 changes with the prediction; `denoised` is linear in it."""
        if self.prediction_type == "sample":
            return 1.0
        if self.prediction_type == "edm":
            return EDM_DATA_STD * self.sigma
        return -self.sigma if self.prediction_type in ("v_prediction", "flow_prediction") else -self.sigma / self.alpha

    def noise(self, model_input: Tensor, prediction: Tensor) -> Tensor:
        """The estimate of the noise in ``model_input``, (B, C, h, w)."""
        if self.prediction_type == "v_prediction":  # eps = sigma x + alpha v
            return self.sigma * model_input + self.alpha * prediction
        if self.prediction_type == "epsilon":
            return prediction
        return (model_input - self.alpha * self.denoised(model_input, prediction)) / self.sigma


#: Guided model output at one moment: (B, C, h, w) model input -> (B, C, h, w).
Predict = Callable[[Tensor, Moment], Tensor]


@dataclass(frozen=True)
class Step:
    """What an observer sees when a step is done: the first call of the model in it.

    Attributes:
        moment: Where the step began.
        model_input: (B, C, h, w), what the model saw there.
        prediction: (B, C, h, w), the guided output.
    """

    moment: Moment
    model_input: Tensor
    prediction: Tensor

    def denoised(self) -> Tensor:
        """(B, C, h, w): the estimate of x0, what previews show. Computed when asked for."""
        return self.moment.denoised(self.model_input, self.prediction)


class NoiseSource:
    """Standard normal noise of the pictures of one batch, the same on every device and at any batch size.

    It is drawn on the CPU in float32, each picture's from its own seed, so a picture depends neither on the device
    nor on the others nor on what was drawn before it.

    Args:
        seed: Of the picture, or one for each picture of a batch.
        shape: (1, C, h, w) of a picture.
    """

    def __init__(self, seed: int | Sequence[int], shape: tuple[int, int, int, int], device: torch.device) -> None:
        seeds = (seed,) if isinstance(seed, int) else seed
        self._generators = [torch.Generator("cpu").manual_seed(one) for one in seeds]
        self._shape = (len(seeds), *shape[1:])
        self._device = device

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of a picture's latents."""
        return self._shape[-2], self._shape[-1]

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these pictures of the batch only; their noise is what it would have been."""
        self._generators = [self._generators[row] for row in rows]
        self._shape = (len(rows), *self._shape[1:])

    def draw(self) -> Tensor:
        """(B, C, h, w) float32 on the device; the host does not wait for the copy."""
        noise = torch.empty(self._shape, dtype=torch.float32, pin_memory=self._device.type == "cuda")
        for picture, generator in zip(noise, self._generators, strict=True):
            torch.randn(picture.shape, generator=generator, out=picture)
        return noise.to(self._device, non_blocking=True)
