"""Teaches the starter to draw in four steps without guidance: a LoRA by latent consistency distillation.

Along the way from noise to picture that the guided starter would take, the student (starter and adapter) is to give
the same picture from everywhere (arXiv:2310.04378, with the adapter as student: arXiv:2311.05556). It is asked at
the times that the sampler ``lcm`` visits in `HOPS` steps, those of four and eight steps among them; one guided DDIM
step of the teacher leads from each to the next.

Half of what it learns from are noisy training pictures, as in the paper. The other half are its own pictures with
fresh noise, as the sampler makes them (as in arXiv:2405.05224): what it gets wrong in one step it is taught to mend
in the next.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fooocus_lite.engine import schedules
from fooocus_lite.engine.levels import CLEAN
from training.adapter_run import AdapterRun, Condition, Job, Sample, parse_adapter, train_adapter
from training.config import Config
from training.evaluate import Sampling
from training.models import TOKENS
from training.team import Team
from training.train_unet import Batches, load_buckets

HOPS = 16
TAUGHT_STEPS = (4, 8)
GUIDANCE_SCALE = 3.0
FRESH = 1 / 3  # share of the batches with new pictures; the others go on from the student's own ones
HUBER = 0.03  # where the loss turns from squares to absolute values, in latents of unit variance
# arXiv:2310.04378, appendix C: sigma_data, and what times are multiplied by.
DATA_STD, TIME_SCALE = 0.5, 10.0
METADATA = {
    "modelspec.title": "Starter, four steps",
    "modelspec.description": "Latent consistency distillation of the starter: 4 to 8 steps with guidance 1.",
    "modelspec.usage_hint": "sampler lcm, scheduler lcm, 4 steps, guidance 1, weight 1",
}


def boundary(times: Tensor) -> tuple[Tensor, Tensor]:
    """c_skip and c_out at ``times`` (arXiv:2310.04378, section 4.1): the picture itself at time 0."""
    scaled = times * TIME_SCALE
    spread = scaled**2 + DATA_STD**2
    return DATA_STD**2 / spread, scaled / spread.sqrt()


class LcmRun(AdapterRun):
    """Latent consistency distillation; the averaged adapter gives the targets.

    ``times``, ``signal`` and ``noise`` are (`HOPS` + 1,), the last one the picture without noise.
    """

    def __init__(self, config: Config, job: Job, device: torch.device, team: Team) -> None:
        super().__init__(config, job, device, team)
        levels = [*schedules.lcm(self.starter.levels, HOPS), CLEAN]
        self.times, self.signal, self.noise = (
            torch.tensor([getattr(level, name) for level in levels], dtype=torch.float32, device=device)
            for name in ("timestep", "alpha", "sigma")
        )
        buckets = load_buckets(job.work / "latents", self.starter.scaling_factor)
        self.batches = Batches(
            buckets, self.starter.tokenizer, batch=config.lcm_batch // team.world, repeats=dict(config.repeats),
            seed=self.seed,
        )  # fmt: skip
        nothing = self.starter.tokenizer([""], padding="max_length", max_length=TOKENS, return_tensors="pt")
        self.nothing = self.starter.encode(nothing.input_ids, torch.zeros(1, 6))
        self.condition: Condition | None = None
        self.drawn = self.own = self.index = torch.zeros(0)

    def renew(self) -> Condition:
        """New pictures and texts, or the next step from the student's own pictures (`own`, which were at `index`).

        Those at the end of their way begin anew from the drawn picture.
        """
        if self.condition is None or torch.rand(()) < FRESH:
            self.drawn, ids, sizes, _ = self.batches.next(TOKENS)
            self.drawn = self.drawn.to(self.device)
            count = len(self.drawn)
            self.condition = self.starter.encode(ids[:count], sizes)
            self.index = torch.full((count,), HOPS)
            self.own = self.drawn
        count = len(self.index)
        stride = HOPS // torch.tensor(TAUGHT_STEPS)[torch.randint(len(TAUGHT_STEPS), (count,))]
        onward = self.index + stride
        ended = onward >= HOPS
        # Anywhere on the way, the noisy part twice as often as the rest.
        anew = (HOPS * ((torch.randperm(count) + torch.rand(count)) / count) ** 2).long()
        self.index = torch.where(ended, anew, onward)
        self.own = torch.where(ended[:, None, None, None].to(self.device), self.drawn, self.own)
        return self.condition

    def at(self, table: Tensor, index: Tensor) -> Tensor:
        """(n, 1, 1, 1) values of ``table``."""
        return table[index.to(self.device)][:, None, None, None]

    def picture(self, latents: Tensor, index: Tensor, condition: Condition) -> Tensor:
        """The consistency function of the adapter that is on: an x0 (n, channels, h, w)."""
        v_pred = self.starter.predict(latents, self.times[index.to(self.device)], condition)
        denoised = self.at(self.signal, index) * latents - self.at(self.noise, index) * v_pred
        c_skip, c_out = boundary(self.at(self.times, index))
        return c_skip * latents + c_out * denoised

    @torch.no_grad()
    def goal(self, latents: Tensor, index: Tensor, condition: Condition) -> Tensor:
        """What the averaged adapter sees one guided DDIM step of the starter further on."""
        self.adapter.is_on = False
        count = len(latents)
        nothing = Condition(
            self.nothing.prompt_embeds.expand(count, -1, -1), self.nothing.pooled.expand(count, -1), condition.sizes
        )
        times = self.times[index.to(self.device)].repeat(2)
        cond, uncond = self.starter.predict(latents.repeat(2, 1, 1, 1), times, condition + nothing).chunk(2)
        v_pred = uncond + GUIDANCE_SCALE * (cond - uncond)
        signal, noise = self.at(self.signal, index), self.at(self.noise, index)
        denoised, direction = signal * latents - noise * v_pred, noise * latents + signal * v_pred
        further = self.at(self.signal, index + 1) * denoised + self.at(self.noise, index + 1) * direction
        self.averaged.is_on = True
        found = self.picture(further, index + 1, condition)
        self.averaged.is_on, self.adapter.is_on = False, True
        return found

    def loss(self) -> Tensor:
        """Pseudo-Huber distance of the student's pictures to those one step further on."""
        condition = self.renew()
        latents = self.at(self.signal, self.index) * self.own + self.at(self.noise, self.index) * torch.randn(
            self.own.shape
        ).to(self.device)
        goal = self.goal(latents, self.index, condition)
        picture = self.picture(latents, self.index, condition)
        self.own = picture.detach()
        self.seen += len(latents) * self.team.world
        return ((picture - goal).square() + HUBER**2).sqrt().mean() - HUBER


def main() -> None:
    """The command line."""
    args, config = parse_adapter(__doc__ or "", minutes=20.0)
    job = Job("starter-lcm", args.work, args.weights, linear_rank=16, conv_rank=8, rate=config.lcm_rate, ema=0.95)
    sample = Sample("a red heart on a yellow background", Sampling("lcm", steps=4, guidance_scale=1.0))
    train_adapter(LcmRun, config, job, args, metadata=METADATA, sample=sample)


if __name__ == "__main__":
    main()
