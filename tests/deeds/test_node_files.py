"""Where another machine finds the files of the server's plans, and which worker gets which place; no Ray."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fooocus_lite.errors import MissingModel
from fooocus_lite.http_streams import Halt
from fooocus_lite.library import Library
from fooocus_lite.model_files import ModelFile, ModelRef
from fooocus_lite.node_files import NodeFiles, ServerFolders, offers_to_tell
from fooocus_lite.offers import Offer
from fooocus_lite.plan import make_plan, plan_from_dict
from fooocus_lite.ray_bridge import WORKERS, find_sites
from fooocus_lite.settings import Settings, load_settings
from fooocus_lite.wording import LoraRef
from tests.deeds.conftest import a_recipe
from tests.fake_hub import FakeHub, random_bytes

SERVER = "/srv/fooocus"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "own").mkdir()
    env = {"FOOOCUS_MODELS_DIR": str(tmp_path / "own"), "FOOOCUS_DATA_DIR": str(tmp_path / "data")}
    return load_settings(env=env, root=tmp_path)


@pytest.fixture
def files(settings: Settings) -> NodeFiles:
    return NodeFiles(settings, ServerFolders((f"{SERVER}/big disk", f"{SERVER}/models"), is_windows=False), "attic")


def said(value: Any) -> Any:
    """As it comes out of a frame."""
    return json.loads(json.dumps(value))


def test_every_path_of_a_plan_is_this_machines_and_nothing_else_changes(
    files: NodeFiles, library: Library, tmp_path: Path
) -> None:
    words = f"{SERVER}/models/checkpoints/a.safetensors"  # a person may write it
    model = ModelRef("a", "sdxl", f"{SERVER}/models/checkpoints/a.safetensors", 64, 64, 8)
    model = replace(model, configs=f"{SERVER}/big disk/configs/sdxl", parts=(("vae", f"{SERVER}/models/vae/v.st"),))
    plan = replace(
        make_plan(a_recipe(words), library, 0),
        model=model,
        refiner=replace(model, name="b", path="/elsewhere/b.safetensors"),
        loras=(LoraRef("ink", f"{SERVER}/models/loras/sub/ink.safetensors", 0.5),),
        embeddings=(("ann", f"{SERVER}/models/embeddings/ann.safetensors"),),
    )
    (tmp_path / "models" / "checkpoints").mkdir(parents=True)
    (tmp_path / "models" / "checkpoints" / "a.safetensors").touch()  # beside the program, not in the own folder
    there = plan_from_dict(files.localized(said(asdict(plan))))
    own = tmp_path / "own"
    assert there.model.path == str(tmp_path / "models" / "checkpoints" / "a.safetensors")
    assert there.model.configs == str(own / "configs" / "sdxl")
    assert there.model.parts == (("vae", str(own / "vae" / "v.st")),)
    assert there.loras[0].path == str(own / "loras" / "sub" / "ink.safetensors")
    assert there.embeddings == (("ann", str(own / "embeddings" / "ann.safetensors")),)
    assert there.refiner is not None and there.refiner.path == "/elsewhere/b.safetensors"
    assert replace(there, model=plan.model, refiner=plan.refiner, loras=plan.loras, embeddings=plan.embeddings) == plan
    assert there.texts[0].startswith(SERVER)


def test_a_server_on_windows_is_read_as_windows_writes(settings: Settings, tmp_path: Path) -> None:
    files = NodeFiles(settings, ServerFolders((r"C:\Fooocus\models",), is_windows=True), "attic")
    assert files.here(r"c:\fooocus\Models\loras\ink.safetensors") == str(tmp_path / "own" / "loras" / "ink.safetensors")
    assert files.here(r"D:\x.safetensors") == r"D:\x.safetensors"


def test_nothing_leads_out_of_the_models_folder(files: NodeFiles) -> None:
    path = f"{SERVER}/models/../../etc/passwd"
    assert files.here(path) == path


@pytest.mark.skipif(os.name == "nt", reason="paths of the other system")
def test_shared_storage_is_used_as_it_is(settings: Settings, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    (shared / "loras").mkdir(parents=True)
    (shared / "loras" / "ink.safetensors").touch()
    files = NodeFiles(settings, ServerFolders((str(shared),), is_windows=False), "attic")
    assert files.here(str(shared / "loras" / "ink.safetensors")) == str(shared / "loras" / "ink.safetensors")
    assert files.here(str(shared / "loras" / "new.safetensors")) == str(tmp_path / "own" / "loras" / "new.safetensors")


def test_what_is_missing_is_fetched_or_named(
    files: NodeFiles, settings: Settings, library: Library, tmp_path: Path
) -> None:
    data = random_bytes(50_000)
    with FakeHub() as hub:
        hub.put("somebody/big", "unet/big.safetensors", data)
        rows = (ModelFile(path=f"{SERVER}/models/big/unet/big.safetensors", url=hub.address + "/files/none"),)
        rows = tuple(replace(row, url="", repo="somebody/big", path_in_repo="unet/big.safetensors") for row in rows)
        offer = Offer(name="big", label="Big", kind="checkpoint", description="", files=rows)
        settings = replace(settings, hub_endpoint=hub.address)
        files = NodeFiles(settings, ServerFolders((f"{SERVER}/models",), is_windows=False), "attic")
        ref = ModelRef("big", "sdxl", f"{SERVER}/models/big", 64, 64, 8)
        plan = files.localized(said(asdict(replace(make_plan(a_recipe(), library, 0), model=ref))))
        with pytest.raises(MissingModel, match="big is not on the machine attic") as caught:
            files.needed_offers([plan])
        assert str(tmp_path / "own") in caught.value.hint
        files.learn(said(offers_to_tell([offer])))
        (needed,) = files.needed_offers([plan])
        assert [file.path for file in needed.files] == [str(tmp_path / "own" / "big" / "unet" / "big.safetensors")]
        files.fetch([needed], Halt(), lambda at: None)
        assert (tmp_path / "own" / "big" / "unet" / "big.safetensors").read_bytes() == data
        assert files.needed_offers([plan]) == []


def node(name: str, **resources: float) -> dict[str, Any]:
    told = {"NodeID": name, "NodeManagerHostname": f"{name}-pc", "NodeManagerAddress": "10.0.0.1"}
    return told | {"Alive": True, "Resources": {key.rstrip("_"): value for key, value in resources.items()}}


def test_a_worker_for_every_gpu_else_one_for_the_processor() -> None:
    nodes = [node("a", CPU=16.0, GPU=2.0), node("b", CPU=8.0), node("c"), node("d", GPU=1.0) | {"Alive": False}]
    sites = find_sites(nodes, use_gpu=True)
    found = {key: (site.gpus, site.threads) for key, site in sites.items()}
    assert found == {
        "a:0": (1, 8),
        "a:1": (1, 8),
        "b:0": (0, 8),
    }
    assert {key: site.gpus for key, site in find_sites(nodes, use_gpu=False).items()} == {"a:0": 0, "b:0": 0}


def test_a_person_says_how_many_share_a_processor() -> None:
    sites = find_sites([node("a", CPU=8.0, **{WORKERS: 4.0})], use_gpu=True)
    assert [site.threads for site in sites.values()] == [2] * 4
    assert sites["a:3"].machine == "a-pc"
