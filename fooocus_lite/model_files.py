"""`ModelRef`, weights that a picture is drawn with, and `ModelFile`, a file that weights are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Endings of files that can run a stranger's code when they are opened.
PICKLES = (".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class ModelRef:
    """Named weights on this disk.

    Attributes:
        name: As in the menu, such as ``starter``.
        family: Key of `fooocus_lite.families.FAMILIES`.
        path: Diffusers folder or single weights file, absolute.
        native_size: Side in pixels the model was trained at.
        max_size: Longest side in pixels that still looks right; larger is refused.
        size_multiple: Width and height must be multiples of this many pixels.
        configs: Folder in the layout of diffusers with the small configuration and tokenizer files, where ``path`` is
            a single file; empty when ``path`` is such a folder itself.
        parts: (component as diffusers calls it, file or folder) of what is taken from elsewhere, such as a VAE.
        prediction: What the network predicts: ``epsilon``, ``v_prediction`` or ``flow``; empty = as its configuration
            says.
        has_zero_snr: Trained with a schedule that ends in pure noise (arXiv:2305.08891, section 3.1), which a single
            file says by a marker.
    """

    name: str
    family: str
    path: str
    native_size: int
    max_size: int
    size_multiple: int
    configs: str = ""
    parts: tuple[tuple[str, str], ...] = ()
    prediction: str = ""
    has_zero_snr: bool = False


def model_ref_from_dict(data: dict[str, Any]) -> ModelRef:
    """The inverse of `dataclasses.asdict`, also after JSON has made lists of the tuples."""
    return ModelRef(**data | {"parts": tuple((component, path) for component, path in data.get("parts", ()))})


@dataclass(frozen=True)
class ModelFile:
    """A file that a model is made of, and where it can be had. Either ``repo`` or ``url`` says where.

    Attributes:
        path: Where it lies, or would, absolute.
        repo: Repository on the hub, as ``owner/name``.
        revision: Commit, tag or branch of the repository.
        path_in_repo: Its place there, with ``/``.
        url: A plain address.
        size_bytes: ``None`` where nobody has published it.
        sha256: In hexadecimal, small letters; empty where nobody has published it. Never a guess.
    """

    path: str
    repo: str = ""
    revision: str = "main"
    path_in_repo: str = ""
    url: str = ""
    size_bytes: int | None = None
    sha256: str = ""

    def is_there(self) -> bool:
        """Whether a file of the right length lies in its place; one look, nothing is read."""
        try:
            status = Path(self.path).stat()
        except OSError:
            return False
        return self.size_bytes is None or status.st_size == self.size_bytes
