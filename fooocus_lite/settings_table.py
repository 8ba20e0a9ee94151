"""The one table of settings: what each is, may be, and how it is given. ``--help``, the docs and all checks read it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from fooocus_lite.memory import RUNGS

_DEVICE = r"(auto|cpu|mps|(cuda|xpu)(:\d{1,2})?)"


@dataclass(frozen=True)
class Setting:
    """One row: everything that is known about a setting.

    Attributes:
        kind: How text is read. A folder is relative to the app root; on the command line, to where one stands.
            Several folders are a list, or in one text parted as the system parts those of PATH.
        default: A folder's default is relative to the app root; without one the setting is empty, ``None``.
        help: One line for people.
        allowed: The range in words, for help and errors.
        minimum: Smallest number.
        maximum: Largest number.
        pattern: What a text must match, whole.
        option: On the command line, when it is not ``--`` and the name.
    """

    name: str
    kind: Literal["folder", "folders", "text", "whole number", "number", "yes or no"]
    default: str | int | float | bool
    help: str
    allowed: str
    minimum: float | None = None
    maximum: float | None = None
    pattern: str = ".+"
    option: str = ""

    @property
    def env(self) -> str:
        """Its name in the environment."""
        return f"FOOOCUS_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return self.option or "--" + self.name.replace("_", "-")


SETTINGS: dict[str, Setting] = {
    row.name: row
    for row in (
        Setting("data_dir", "folder", "data", "Queue, thumbnails, own styles and presets.", "a folder"),
        Setting("output_dir", "folder", "outputs", "Where pictures are saved, one folder a day.", "a folder"),
        Setting("models_dir", "folder", "models", "Where models are looked for.", "a folder"),
        Setting(
            "extra_model_folders",
            "folders",
            "",
            "More folders with models, of ComfyUI, A1111, Forge, InvokeAI, the hub's cache …; used in place.",
            f"a list of folders, or one text with {os.pathsep} between them",
        ),
        Setting(
            "legacy_folder",
            "folder",
            "",
            "Your Fooocus folder; its styles, presets, word lists and LoRAs are used in place.",
            "a folder",
        ),
        Setting(
            "expansion_model",
            "text",
            "",
            "Language model behind the style Expand prompt; empty: the one that ships.",
            "a folder, or the name of a model on the Hugging Face hub that is on this disk",
            pattern=".*",
        ),
        Setting(
            "hub_endpoint",
            "text",
            "",
            "Mirror that models are downloaded from; empty: HF_ENDPOINT, else huggingface.co.",
            "an address such as https://hub.example.org",
            pattern=r"(https?://[^\s/@]+(/\S*)?)?",
        ),
        Setting("offline", "yes or no", False, "Never use the network; models are not downloaded.", "yes or no"),
        Setting("host", "text", "127.0.0.1", "Address to listen on.", "an address or host name", pattern=r"[^\s/]+"),
        Setting("listen", "yes or no", False, "Let other devices of your network in, with a password.", "yes or no"),
        Setting(
            "share",
            "yes or no",
            False,
            "Ask for a password and answer to any name: for a tunnel program or reverse proxy on this machine.",
            "yes or no",
        ),
        Setting(
            "allowed_hosts",
            "text",
            "",
            "More names that the page is opened under; *.example.org stands for every name below it.",
            "host names with commas between them",
            pattern=r"(\*\.)?[\w.-]+(\s*,\s*(\*\.)?[\w.-]+)*|",
        ),
        Setting("port", "whole number", 7865, "Port; a taken one moves on to the next.", "1 to 65535", 1, 65535),
        Setting("open_browser", "yes or no", True, "Open the page when ready.", "yes or no", option="--no-browser"),
        Setting(
            "device",
            "text",
            "auto",
            "What computes the pictures; several share the queue.",
            "auto, cpu, mps, cuda, xpu, cuda:N or xpu:N, several with commas between them, or all",
            pattern=rf"all|{_DEVICE}(\s*,\s*{_DEVICE}){{0,15}}",
        ),
        Setting(
            "engine",
            "text",
            "local",
            "Who computes: this machine, or every machine of a Ray cluster (docs/machines.md).",
            "local or ray",
            pattern="local|ray",
        ),
        Setting(
            "ray_address",
            "text",
            "",
            "The Ray cluster, for engine = ray; empty: one of this machine alone.",
            "auto, or host:port as ray start says it",
            pattern=r"(auto|[^\s/:]+:\d{1,5})?",
        ),
        Setting(
            "memory",
            "text",
            "auto",
            "How models are kept in memory.",
            f"auto, {', '.join(RUNGS)}",
            pattern="|".join(("auto", *RUNGS)),
        ),
        Setting("dtype", "text", "auto", "Precision.", "auto, bf16, fp16 or fp32", pattern="auto|bf16|fp16|fp32"),
        Setting("preset", "text", "starter", "Preset that fills what a person leaves open.", "a preset's name"),
        Setting(
            "a1111_text",
            "yes or no",
            True,
            "Write the settings into pictures also as the text that Civitai and other programs read.",
            "yes or no",
            option="--no-a1111-text",
        ),
        Setting(
            "webhooks",
            "text",
            "",
            "Addresses that programs may have told when a picture is done: how they begin; empty: none.",
            "addresses such as https://example.org/hooks, with commas between them",
            pattern=r"(\s*https?://[^\s,@?#]+\s*(,\s*https?://[^\s,@?#]+\s*)*)?",
        ),
        Setting(
            "language",
            "text",
            "",
            "Language of the page: a file in data/languages, without .json; empty: English.",
            "a file's name without .json",
            pattern=".*",
        ),
        Setting("preview_fps", "number", 5.0, "Previews a second; 0 shows none.", "0 to 5", 0, 5),
        Setting(
            "log_level",
            "text",
            "info",
            "How much is logged; debug includes prompts.",
            "debug, info, warning or error",
            pattern="debug|info|warning|error",
        ),
    )
}  # fmt: skip
