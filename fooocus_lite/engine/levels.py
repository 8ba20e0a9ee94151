"""How much noise there is at which time of a model's clock, as it was trained: `NoiseLevels`, and one `Level` of them.

Three kinds: a table of levels (SD and SDXL), EDM's continuous ones, and straight lines from noise to picture (flow).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_NOISE_PROCESS = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "rescale_betas_zero_snr",
)
_LEAST_SIGNAL = 2.0**-24  # of a model trained down to no signal at all: its first level must be a number
EDM_DATA_STD = 0.5  # sigma_data of arXiv:2206.00364, table 1
_EDM_RANGE = (0.002, 80.0)
_FLOW_TIMES = 1000
# Where the files of a model with a dynamic shift say nothing: FLUX.1's, from 256² to 1024² pixels.
_DYNAMIC_TOKENS = {"base": 256, "max": 4096}
_DYNAMIC_SHIFTS = {"base": 0.5, "max": 1.15}


@dataclass(frozen=True)
class Level:
    """A mixture x = alpha·x0 + sigma·noise. The numbers are the host's, so that using them waits for no device.

    Attributes:
        alpha: How much picture; 1 where a sampler keeps x0 + sigma·noise.
        sigma: How much noise; 0 at the end.
        timestep: What a model is told there; may be fractional.
    """

    alpha: float
    sigma: float
    timestep: float = 0.0

    @property
    def ratio(self) -> float:
        """sigma / alpha: "sigma" of arXiv:2206.00364; infinite for noise alone."""
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def log_snr(self) -> float:
        """log(alpha / sigma): half the log signal-to-noise ratio, lambda of arXiv:2206.00927."""
        if not self.sigma:
            return math.inf
        return math.log(self.alpha / self.sigma) if self.alpha else -math.inf


#: Where every walk ends: the picture alone.
CLEAN = Level(1.0, 0.0)


@dataclass(frozen=True)
class NoiseLevels:
    """The levels a model was trained with.

    Attributes:
        kind: ``table``, ``edm`` or ``flow``; rows of the registry say which they go with.
        prediction_type: What the model predicts; see `fooocus_lite.engine.moment.Moment`.
        table: (T,) rising, ratios (``table``) or times in 0 … 1 (``flow``) at the whole times of the model's clock.
        ratios: The least and the greatest ratio that the model knows.
        shift: Of a ``flow`` model: how much longer it stays among the noisy times than an even walk would.
    """

    kind: str
    prediction_type: str
    table: Any
    ratios: tuple[float, float]
    shift: float = 1.0

    @property
    def last_time(self) -> int:
        """The time of the most noise; that of the least is 0."""
        return len(self.table) - 1

    def at_time(self, time: float) -> Level:
        """The level at a time of the clock, 0 … `last_time`. Not for ``edm``, whose clock is a function of the level.

        Between two whole times the ratio is linear; the clock of a ``flow`` model has all times.
        """
        if self.kind == "flow":
            value = float(np.float32(shifted((time + 1) / _FLOW_TIMES, self.shift)))
            return Level(1 - value, value, value * _FLOW_TIMES)
        value = float(np.float32(np.interp(time, np.arange(len(self.table)), self.table)))
        return self.mixed(value, float(time))

    def at_ratio(self, ratio: float) -> Level:
        """The level of a ratio, such as a Karras schedule gives."""
        if self.kind == "flow":
            time = ratio / (1 + ratio)
            return Level(1 / (1 + ratio), time, time * _FLOW_TIMES)
        return self.mixed(ratio, self._time_of(ratio))

    def progress(self, level: Level) -> float:
        """How far the model's clock has run at a level as the model sees it: 0 at the most noise, 1 at none."""
        if self.kind == "flow":
            return 1 - level.sigma
        if self.kind == "edm":
            last, first = (self._time_of(ratio) for ratio in self.ratios)
            return (first - level.timestep) / (first - last)
        return 1 - level.timestep / self.last_time

    def mixed(self, ratio: float, timestep: float) -> Level:
        """As the model sees it: variance-preserving, or for ``edm`` of variance 1 with its data (c_in of table 1)."""
        if self.kind == "edm":
            alpha = (EDM_DATA_STD**2 + ratio * ratio) ** -0.5
        else:
            alpha = (1 + ratio * ratio) ** -0.5
        return Level(alpha, ratio * alpha, timestep)

    def _time_of(self, ratio: float) -> float:
        if self.kind == "edm":
            return 0.25 * math.log(ratio)  # c_noise of arXiv:2206.00364, table 1
        # Not rounded to a whole time: the model would be told another level than the one it sees.
        time = np.interp(math.log(ratio), np.log(self.table.astype(np.float64)), np.arange(len(self.table)))
        return float(np.float32(time))


def shifted(times: Any, shift: float) -> Any:
    """Times of straight lines, 0 … 1, where the noise outlasts more pixels: arXiv:2403.03206, eq. 23."""
    return shift * times / (1 + (shift - 1) * times)


def read_levels(config: Mapping[str, Any], image_tokens: int | None = None) -> NoiseLevels:
    """The levels of a model by its ``scheduler_config.json``.

    Args:
        image_tokens: How many patches the picture is for the model; on some, the levels depend on it. ``None`` = as
            many as at the size it was trained for.

    Of that file only what the model was trained with counts; the rest is some sampler's taste. SDXL's own says
    timestep_spacing "leading", from which a Karras schedule would start at 8.4 instead of 14.6.
    """
    prediction = str(config.get("prediction_type", "epsilon"))
    if prediction == "flow_prediction" or "FlowMatch" in str(config.get("_class_name", "")):
        shift = _flow_shift(config, image_tokens)
        times = shifted(np.arange(1, _FLOW_TIMES + 1) / _FLOW_TIMES, shift)
        return NoiseLevels("flow", "flow_prediction", times, (float(times[0]), math.inf), shift)
    if "sigma_data" in config:
        low, high = (
            float(config.get(f"sigma_{end}", usual)) for end, usual in zip(("min", "max"), _EDM_RANGE, strict=True)
        )
        return NoiseLevels("edm", "edm", np.empty(0), (low, high))
    table = _ratio_table(config)
    return NoiseLevels("table", prediction, table, (float(table[0]), float(table[-1])))


def _flow_shift(config: Mapping[str, Any], image_tokens: int | None) -> float:
    """The shift of a flow model; of a dynamic one mu, its logarithm, grows along a line with the tokens."""
    if not config.get("use_dynamic_shifting", False):
        return float(config.get("flow_shift", config.get("shift", 1.0)))
    low, high = (int(config.get(f"{end}_image_seq_len", usual)) for end, usual in _DYNAMIC_TOKENS.items())
    least, most = (float(config.get(f"{end}_shift", usual)) for end, usual in _DYNAMIC_SHIFTS.items())
    mu = least + (most - least) * ((image_tokens or high) - low) / (high - low)
    return mu if config.get("time_shift_type", "exponential") == "linear" else math.exp(mu)


def _ratio_table(config: Mapping[str, Any]) -> Any:
    """(T,) float32: sigma / alpha at the whole times, in the precision in which models are trained."""
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

    scheduler: Any = DDPMScheduler(**{key: config[key] for key in _NOISE_PROCESS if key in config})
    kept = scheduler.alphas_cumprod.clamp(min=_LEAST_SIGNAL)
    return (((1 - kept) / kept) ** 0.5).numpy()
