"""Guidance as rows of plain data: what can lead a picture, by which fields of a recipe, and what it costs.

The engine reads the rows and has one function for each (`fooocus_lite.engine.guidance`); page, CLI, documents and
tests list them. The formulas and measured costs stand in ``docs/guidance.md``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How strongly a picture is led, and by what. Every default is off: as if there were no such thing.

    Attributes:
        guidance_scale: Classifier-free guidance; 1 runs no unconditional pass.
        guidance_rescale: Share of the contrast that guidance added and that is taken back.
        guidance_start: Share of the steps before any guidance begins.
        guidance_end: Share of the steps after which it ends.
        adaptive_cfg: The scale that a greater ``guidance_scale`` begins as; 0 = it is the same throughout.
        perp_neg: Weight of the unwanted texts, taken at a right angle to the wanted ones; 0 = as usual.
        apg_eta: Share kept of the part of guidance that only adds contrast; 1 = all.
        apg_threshold: Longest step of guidance, as a norm of x0; 0 = any.
        apg_momentum: How much of the former steps of guidance is added to each; negative pushes back.
        sag_scale: Self-attention guidance; 0 runs no degraded pass.
        pag_scale: Perturbed-attention guidance; 0 runs no perturbed pass.
        sharpness: Thousandths of smoothed noise at the last step; 0 = none.
        freeu_b1: Strength of the backbone in the UNet's first decoder stage; 1 = untouched.
        freeu_b2: Likewise in its second.
        freeu_s1: Strength of the skip connection's low frequencies in the first; 1 = untouched.
        freeu_s2: Likewise in its second.
        adm_positive: Factor of the size that the wanted texts are told to have been drawn at; 1 = the true size.
        adm_negative: Likewise of the unwanted.
        adm_end: Share of the model's clock after which both are told the true size.
    """

    guidance_scale: float = 1.0
    guidance_rescale: float = 0.0
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    adaptive_cfg: float = 0.0
    perp_neg: float = 0.0
    apg_eta: float = 1.0
    apg_threshold: float = 0.0
    apg_momentum: float = 0.0
    sag_scale: float = 0.0
    pag_scale: float = 0.0
    sharpness: float = 0.0
    freeu_b1: float = 1.0
    freeu_b2: float = 1.0
    freeu_s1: float = 1.0
    freeu_s2: float = 1.0
    adm_positive: float = 1.0
    adm_negative: float = 1.0
    adm_end: float = 0.3

    def guided_steps(self, steps: int) -> range:
        """The steps, counted from 0, at which guidance acts: shares of ``steps``, rounded."""
        return range(*(math.floor(share * steps + 0.5) for share in (self.guidance_start, self.guidance_end)))


#: Field → the value that means: as if there were no such thing.
OFF: dict[str, float] = asdict(Weights())


@dataclass(frozen=True)
class Knob:
    """How a field of a recipe is shown to a person.

    Attributes:
        label: What it is called.
        info: One plain sentence.
        step: Smallest change.
    """

    label: str
    info: str
    step: float


KNOBS: dict[str, Knob] = {
    "guidance_rescale": Knob(
        "Guidance rescale", "Takes back the glare of strong guidance; 0 is off, 0.7 is usual.", 0.05
    ),
    "guidance_start": Knob("Guidance from", "Share of the steps before guidance begins.", 0.05),
    "guidance_end": Knob("Guidance until", "Share of the steps after which it ends, and each is faster.", 0.05),
    "adaptive_cfg": Knob(
        "Gentle start", "Stronger guidance begins as this one and grows; 0 is off, Fooocus has 7.", 0.5
    ),
    "perp_neg": Knob("Perp-Neg", "The negative prompt cannot take from the prompt; half longer, 0 is off.", 0.1),
    "apg_eta": Knob("Contrast kept (APG)", "Below 1, guidance adds less contrast, so that it can be stronger.", 0.05),
    "apg_threshold": Knob("Longest step (APG)", "Caps what guidance may change at once; 0 is off, SDXL's is 15.", 0.5),
    "apg_momentum": Knob("Momentum (APG)", "Below 0, what guidance did already is held back; -0.5 is usual.", 0.05),
    "sag_scale": Knob("Self-attention guidance", "Firmer shapes, half longer; 0 is off.", 0.05),
    "pag_scale": Knob("Perturbed-attention guidance", "Firmer composition, half longer; 0 is off, 3 is usual.", 0.1),
    "sharpness": Knob("Sharpness", "Keeps fine grain towards the end; 0 is off, Fooocus has 2.", 0.1),
    "freeu_b1": Knob("FreeU b1", "Above 1, firmer coarse shapes at no cost.", 0.01),
    "freeu_b2": Knob("FreeU b2", "Above 1, firmer finer shapes.", 0.01),
    "freeu_s1": Knob("FreeU s1", "Below 1, less coarse haze beside b1.", 0.01),
    "freeu_s2": Knob("FreeU s2", "Below 1, less coarse haze beside b2.", 0.01),
    "adm_positive": Knob("Size told to the prompt", "Above 1, detail as in a larger picture; Fooocus has 1.5.", 0.05),
    "adm_negative": Knob(
        "Size told to the negative prompt", "Below 1, away from small pictures; Fooocus has 0.8.", 0.05
    ),
    "adm_end": Knob("Sizes told until", "Share of the walk; then both hear the true size.", 0.05),
}


@dataclass(frozen=True)
class Guidance:
    """One thing that can lead a picture.

    Attributes:
        label: What a person reads.
        good_for: What it does, in one line.
        cost: What a guided step costs with it, in words.
        paper: Where it is published.
        text_name: What the line of settings in a picture's text calls it, where Fooocus has it, too, as Fooocus does.
        fields: Its fields of a recipe. It is off when those that switch it are at their values in `OFF`.
        switches: How many of ``fields`` switch it on; 0 = all.
        needs: What it cannot do without: a second answer of the model (``uncond``), any guidance to work on
            (``guidance``), or a place in the model, by its name in `fooocus_lite.engine.guidance.Layers`.
    """

    label: str
    good_for: str
    cost: str
    paper: str
    text_name: str
    fields: tuple[str, ...]
    switches: int = 0
    needs: Literal["uncond", "guidance", "attention", "perturbed", "decoder", "sizes", ""] = ""

    @property
    def switching(self) -> tuple[str, ...]:
        """The fields that switch it on."""
        return self.fields[: self.switches or len(self.fields)]

    def is_any_of(self, fields: Collection[str]) -> bool:
        """Whether one of ``fields`` switches it on."""
        return any(name in fields for name in self.switching)

    def is_on(self, weights: Weights) -> bool:
        """Whether any of its switches is away from off."""
        return any(getattr(weights, name) != OFF[name] for name in self.switching)


GUIDANCES: dict[str, Guidance] = {
    "classifier_free": Guidance(
        label="Classifier-free guidance",
        good_for="keeps to the words and away from the negative prompt",
        cost="a second pass, in one batch with the first",
        paper="arXiv:2207.12598, eq. 6",
        text_name="CFG scale",
        fields=("guidance_scale",),
    ),
    "rescale": Guidance(
        label="Guidance rescale",
        good_for="takes back glare and burnt colours of a high scale",
        cost="nothing to speak of",
        paper="arXiv:2305.08891, eq. 15 and 16",
        text_name="Guidance rescale",
        fields=("guidance_rescale",),
        needs="guidance",
    ),
    "interval": Guidance(
        label="Guidance interval",
        good_for="the same picture sooner: the first steps are too noisy to be led, the last are decided",
        cost="outside it a step is one pass",
        paper="arXiv:2404.07724",
        text_name="Guidance interval",
        fields=("guidance_start", "guidance_end"),
        needs="guidance",
    ),
    "adaptive": Guidance(
        label="Adaptive guidance",
        good_for="a high scale that does not harden the composition: it begins as a lower one",
        cost="nothing",
        paper="an idea of Fooocus",
        text_name="Adaptive CFG",
        fields=("adaptive_cfg",),
        needs="uncond",
    ),
    "perp_neg": Guidance(
        label="Perp-Neg",
        good_for="a negative prompt that shares words with the prompt: only what is not wanted goes",
        cost="a third pass, in the same batch",
        paper="arXiv:2304.04968",
        text_name="Perp-Neg",
        fields=("perp_neg",),
        needs="uncond",
    ),
    "apg": Guidance(
        label="Adaptive projected guidance",
        good_for="high scales without oversaturation",
        cost="nothing to speak of",
        paper="arXiv:2410.02416",
        text_name="APG",
        fields=("apg_eta", "apg_threshold", "apg_momentum"),
        needs="uncond",
    ),
    "self_attention": Guidance(
        label="Self-attention guidance",
        good_for="firmer shapes and finer detail where the model looks itself",
        cost="one more pass, after the others",
        paper="arXiv:2210.00939, algorithm 1",
        text_name="SAG scale",
        fields=("sag_scale",),
        needs="attention",
    ),
    "perturbed_attention": Guidance(
        label="Perturbed-attention guidance",
        good_for="sound structure, also without a prompt or at scale 1",
        cost="one more pass, in the same batch",
        paper="arXiv:2403.17377",
        text_name="PAG scale",
        fields=("pag_scale",),
        needs="perturbed",
    ),
    "sharpness": Guidance(
        label="Sharpness",
        good_for="crisper texture late in the walk",
        cost="a filter over the latents",
        paper="an idea of Fooocus, after arXiv:2210.00939, section 5.1",
        text_name="Sharpness",
        fields=("sharpness",),
    ),
    "freeu": Guidance(
        label="FreeU",
        good_for="steadier shapes from the network's own decoder",
        cost="a Fourier transform of six feature maps",
        paper="arXiv:2309.11497",
        text_name="FreeU",
        fields=("freeu_b1", "freeu_b2", "freeu_s1", "freeu_s2"),
        needs="decoder",
    ),
    "adm": Guidance(
        label="ADM size scaling",
        good_for="SDXL believes that it draws larger than it does: more detail, less emptiness",
        cost="nothing",
        paper="an idea of Fooocus, on the sizes of arXiv:2307.01952, section 2.2",
        text_name="ADM Guidance",
        fields=("adm_positive", "adm_negative", "adm_end"),
        switches=2,
        needs="sizes",
    ),
}


def passes_when_guided(weights: Weights) -> int:
    """How often the model looks at the latents in a guided step."""
    is_led = weights.guidance_scale != 1
    return 1 + is_led + (is_led and weights.perp_neg != 0) + (weights.sag_scale != 0) + (weights.pag_scale != 0)


def passes_per_step(weights: Weights, steps: int) -> float:
    """How often it looks at them in a step, on average over ``steps`` of them; one without guidance is one look."""
    return 1 + (passes_when_guided(weights) - 1) * len(weights.guided_steps(steps)) / max(1, steps)


def without_effect(weights: Weights, *, steps: int, told: Collection[str] = ()) -> Iterator[str]:
    """A sentence for each thing that is set and cannot do anything beside the others, in so many steps.

    Args:
        told: Fields of which is known that they do nothing with the model, whatever the others are.
    """
    is_led = weights.guidance_scale != 1
    is_guided = is_led or weights.sag_scale != 0 or weights.pag_scale != 0
    for row in GUIDANCES.values():
        if (
            row.is_on(weights)
            and not row.is_any_of(told)
            and ((row.needs == "uncond" and not is_led) or (row.needs == "guidance" and not is_guided))
        ):
            yield f"{row.label} does nothing at guidance scale 1."
    if is_guided and "guidance_start" not in told and not weights.guided_steps(steps):
        yield f"The guidance interval holds none of the {steps} steps, so nothing guides the picture; make it longer."
    if "adm_negative" not in told and weights.adm_positive == 1 and weights.adm_negative != 1 and not is_led:
        yield "ADM size scaling of the negative prompt does nothing at guidance scale 1."
