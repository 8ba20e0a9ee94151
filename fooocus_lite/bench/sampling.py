"""What samplers, guidance and LoRAs cost, against a walk without them; each function yields rows of the table."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fooocus_lite.bench.base import REST_S, ROUNDS, Bench, ratio_row
from fooocus_lite.bench.children import BareLoop
from fooocus_lite.bench.report import Row
from fooocus_lite.guidances import GUIDANCES
from fooocus_lite.registry import SAMPLERS

WALK_ROUNDS = 6
ARITHMETIC_ROUNDS = 50

#: Row of `GUIDANCES` → what is changed, and the most that a walk may take of one with classifier-free guidance alone.
#: For that one itself it is what a walk without it takes: where it is r, six tenths of the steps led take 0.6 + 0.4 r,
#: and one pass more 1 + r.
LED: dict[str, tuple[dict[str, float], float | None]] = {
    "classifier_free": ({"guidance_scale": 1.0}, None),
    "rescale": ({"guidance_rescale": 0.7}, None),
    "interval": ({"guidance_start": 0.2, "guidance_end": 0.8}, 0.82),
    "adaptive": ({"adaptive_cfg": 2.0}, None),
    "perp_neg": ({"perp_neg": 1.0}, 1.55),
    "apg": ({"apg_eta": 0.5, "apg_threshold": 5.0, "apg_momentum": -0.5}, None),
    "self_attention": ({"sag_scale": 0.25}, 1.55),
    "perturbed_attention": ({"pag_scale": 3.0}, 1.55),
    "sharpness": ({"sharpness": 2.0}, None),
    "freeu": ({"freeu_b1": 1.1, "freeu_b2": 1.2, "freeu_s1": 0.9, "freeu_s2": 0.5}, None),
    "adm": ({"adm_positive": 1.5, "adm_negative": 0.8}, None),
}


def measure_guidance(bench: Bench) -> Iterator[Row]:
    """Walks with each guidance, in turns with one of the scale alone."""
    alone: list[float] = []
    seconds: dict[str, list[float]] = {key: [] for key in LED}
    plain = {"guidance_scale": max(3.0, bench.plan.guidance_scale), "negative_texts": ["blurry"]}
    with BareLoop(bench.settings, bench.plan, threads=bench.threads) as loop:
        for number in range(WALK_ROUNDS + 1):
            alone.append(loop.ask("walk", plain)[0])
            for key, (changes, _) in LED.items():
                seconds[key].append(loop.ask("walk", plain | changes)[0])
            bench.say(f"  round {number} of {WALK_ROUNDS}: {alone[-1]:.2f} s alone")
    how = f"{bench.plan.steps} steps of {bench.plan.sampler}, without encoding and decoding"
    for key, (_, limit) in LED.items():
        label = GUIDANCES[key].label if key != "classifier_free" else "no guidance"
        # The first ones warm up.
        yield ratio_row(f"{label} ÷ CFG", limit, seconds[key][1:], alone[1:], how, typical=min)


def measure_samplers(bench: Bench) -> Iterator[Row]:
    """A call of the model and what each sampler adds to it, against Euler's.

    The two are measured apart, because what a sampler adds is a thousandth of a step and would drown in the other's
    noise: once with the model, once with answers that are there at once.
    """
    added: dict[str, list[float]] = {name: [] for name in SAMPLERS}
    with BareLoop(bench.settings, bench.plan, threads=bench.threads) as loop:
        walks = [loop.ask("walk", {"sampler": "euler", "scheduler": "normal"}) for _ in range(WALK_ROUNDS)]
        for _ in range(ARITHMETIC_ROUNDS):
            for name, row in SAMPLERS.items():
                steps = bench.plan.steps // row.calls
                change = {"sampler": name, "scheduler": row.scheduler, "steps": steps}
                added[name].append(loop.ask("arithmetic", change))
    call = min(seconds / calls for seconds, calls in walks)
    euler = min(added["euler"])
    for name in (name for name in SAMPLERS if name != "euler"):
        own = min(added[name])
        how = f"{own * 1e6:.0f} µs and {euler * 1e6:.0f} µs beside a call of the model of {call * 1000:.1f} ms"
        # The walks with the model are Euler's, so its own share is in them already.
        yield Row(f"{name} ÷ euler", (call - euler + own) / call, 1.03, how)


def measure_loras(bench: Bench) -> Iterator[Row]:
    """Another weight of a LoRA for the next picture: in, words read anew, and out again; against a picture."""
    pictures: list[float] = []
    switches: list[float] = []
    with BareLoop(bench.settings, bench.plan, threads=bench.threads) as loop:
        layers = loop.ask("write_lora", str(bench.folder / "bench.safetensors"))
        for number in range(ROUNDS + 1):
            time.sleep(REST_S)
            pictures.append(loop.ask("picture", number))
            time.sleep(REST_S)
            switches.append(loop.ask("switch_lora", 0.5 + number / 100))
    del pictures[0], switches[0]  # the first ones load the model and the file
    how = f"rank 16 on {layers} layers of UNet and text encoders, ÷ {bench.plan.steps} steps"
    yield ratio_row("another LoRA weight ÷ a picture", 0.05, switches, pictures, how)
