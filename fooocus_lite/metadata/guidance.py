"""Guidance in texts: ``Sharpness: 2.0``, ``FreeU: (1.01, 1.02, 0.99, 0.95)``, as Fooocus writes it and we do."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from fooocus_lite.guidances import GUIDANCES, Weights
from fooocus_lite.metadata.found import Found, lenient
from fooocus_lite.picture_text import OUR_NAME
from fooocus_lite.untrusted import as_floats

#: How a text names it, in lower case → fields of the recipe. CFG has names of its own in every program.
FIELDS = {row.text_name.casefold(): row.fields for key, row in GUIDANCES.items() if key != "classifier_free"}
#: Fooocus writes it only where it is another than this.
_FOOOCUS_ADAPTIVE_CFG = 7.0
_FOOOCUS_SAYS = {"performance", "sharpness", "adm guidance"}  # of every picture; besides it only we say all three


def read_guidance(found: Found, settings: Mapping[str, object]) -> None:
    """Take what the settings say; names in lower case, words apart by spaces. What cannot be read is a warning."""
    for name, fields in FIELDS.items():
        numbers = lenient(found, partial(as_floats, count=len(fields)), settings.get(name), name)
        if numbers is not None:
            found.guidance |= dict(zip(fields, numbers, strict=True))
    is_ours = str(settings.get("version", "")).startswith(OUR_NAME)  # we write it wherever it is on
    is_fooocus = settings.keys() >= _FOOOCUS_SAYS and not is_ours
    if is_fooocus and (found.guidance_scale or 0) > _FOOOCUS_ADAPTIVE_CFG:
        found.guidance.setdefault("adaptive_cfg", _FOOOCUS_ADAPTIVE_CFG)


def guidance_pairs(weights: Weights) -> dict[str, str]:
    """Name → value of each guidance that is on, the counterpart of `read_guidance`."""
    pairs: dict[str, str] = {}
    for key, row in GUIDANCES.items():
        if key != "classifier_free" and row.is_on(weights):
            values = ", ".join(str(getattr(weights, name)) for name in row.fields)
            pairs[row.text_name] = values if len(row.fields) == 1 else f"({values})"
    return pairs
