"""A1111's interface, asked by webuiapi and in the order in which its best known clients ask."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest
import webuiapi
from PIL import Image

from tests.app.client import ask, ask_json
from tests.faults.server import Server, until

API = "/sdapi/v1"
SMALL: dict[str, Any] = {"width": 128, "height": 128, "steps": 2}


@pytest.fixture
def api(quiet_server: Server) -> webuiapi.WebUIApi:
    parts = urlsplit(quiet_server.address)
    return webuiapi.WebUIApi(host=parts.hostname, port=parts.port, steps=2)


def opened(text: str) -> Image.Image:
    picture = Image.open(io.BytesIO(base64.b64decode(text, validate=True)))
    picture.load()
    return picture


def start(server: Server, **fields: Any) -> tuple[threading.Thread, list[tuple[int, Any]]]:
    """A request in a thread, and where its answer will be."""
    answers: list[tuple[int, Any]] = []
    thread = threading.Thread(target=lambda: answers.append(ask_json(server.address, "POST", f"{API}/txt2img", fields)))
    thread.start()
    return thread, answers


def tasks_saying(server: Server, prompt: str) -> list[dict[str, Any]]:
    found = server.get("/v1/tasks?limit=200")[1]["tasks"]
    return [task for task in reversed(found) if task["recipe"]["prompt"] == prompt]


def test_pictures(quiet_server: Server, api: webuiapi.WebUIApi) -> None:
    result = api.txt2img(
        prompt="a red circle", negative_prompt="blue", seed=3, batch_size=2, n_iter=2, width=128, height=96,
        styles=["Watercolor"], cfg_scale=3.5,
    )  # fmt: skip
    assert [picture.size for picture in result.images] == [(128, 96)] * 4
    assert result.info["all_seeds"] == [3, 4, 5, 6] and result.info["seed"] == 3
    assert (result.info["sampler_name"], result.info["steps"], result.info["cfg_scale"]) == ("Euler a", 2, 3.5)
    assert "watercolor" in result.info["all_prompts"][0] and result.info["all_negative_prompts"][0] == "blue"
    assert [text.count("Seed: ") for text in result.info["infotexts"]] == [1] * 4
    assert result.image.info["parameters"] == result.info["infotexts"][0]
    assert result.parameters["cfg_scale"] == 3.5 and result.info["notes"] == []
    (newest,) = quiet_server.get("/v1/pictures?limit=1")[1]["pictures"]
    assert newest["recipe"]["seed"] == 6  # in the gallery, as everybody's


def test_what_is_left_out_the_app_decides(quiet_server: Server) -> None:
    status, answer = quiet_server.post(f"{API}/txt2img", {"prompt": "a red circle", "steps": 2, "seed": -1})
    info = json.loads(answer["info"])
    assert status == 200
    plan = quiet_server.post("/v1/plan", {"prompt": "a red circle"})[1]["recipe"]
    assert (info["width"], info["cfg_scale"]) == (plan["width"], plan["guidance_scale"])
    again = json.loads(quiet_server.post(f"{API}/txt2img", {"prompt": "a red circle", "steps": 2})[1]["info"])
    assert info["seed"] != again["seed"]


@pytest.mark.parametrize(
    ("named", "sampler", "scheduler"),
    [
        ({"sampler_name": "DPM++ 2M Karras"}, "dpmpp_2m", "karras"),
        ({"sampler_index": "DPM++ 2M SDE", "scheduler": "exponential"}, "dpmpp_2m_sde", "exponential"),
        ({"sampler_name": "Euler a", "scheduler": "automatic"}, "euler_ancestral", "normal"),
        ({"sampler_name": "DPM fast"}, "dpmpp_2m", "karras"),
    ],
    ids=str,
)
def test_samplers_by_their_names(quiet_server: Server, named: dict[str, str], sampler: str, scheduler: str) -> None:
    answer = quiet_server.post(f"{API}/txt2img", SMALL | named | {"prompt": "a star"})[1]
    (newest,) = quiet_server.get("/v1/pictures?limit=1")[1]["pictures"]
    assert (newest["recipe"]["sampler"], newest["recipe"]["scheduler"]) == (sampler, scheduler)
    notes = json.loads(answer["info"])["notes"]
    assert any("no exact counterpart" in note for note in notes) == ("DPM fast" in named.values())


def test_settings_of_one_request(quiet_server: Server) -> None:
    settings = {"sd_model_checkpoint": "starter.safetensors [0123abcd]", "CLIP_stop_at_last_layers": 2}
    settings |= {"samples_format": "webp", "sd_vae": "Automatic", "eta_noise_seed_delta": 31337}
    body = SMALL | {"prompt": "a star AND a moon", "override_settings": settings, "restore_faces": True, "foo": 1}
    status, answer = quiet_server.post(f"{API}/txt2img", body)
    assert status == 200 and opened(answer["images"][0]).format == "WEBP"
    info = json.loads(answer["info"])
    assert info["sd_model_name"] == "starter" and info["clip_skip"] == 2
    notes = " ".join(info["notes"])
    assert "AND" in notes and "restore_faces" in notes and "eta_noise_seed_delta" in notes and "sd_vae" not in notes


def test_images_may_stay_here(quiet_server: Server) -> None:
    status, answer = quiet_server.post(f"{API}/txt2img", SMALL | {"prompt": "a star", "send_images": False})
    assert (status, answer["images"]) == (200, []) and len(json.loads(answer["info"])["all_seeds"]) == 1


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("txt2img", {"width": 512, "height": 512}, 422, "Allowed for starter"),
        ("txt2img", SMALL | {"enable_hr": True}, 501, "Hires"),
        ("txt2img", SMALL | {"script_name": "x/y/z plot"}, 422, "x/y/z plot"),
        ("txt2img", SMALL | {"alwayson_scripts": {"ADetailer": {"args": [True, {}]}}}, 422, "ADetailer"),
        ("txt2img", SMALL | {"batch_size": 20, "n_iter": 20}, 422, "400 pictures"),
        ("txt2img", SMALL | {"steps": "many"}, 422, "steps"),
        ("txt2img", SMALL | {"override_settings": {"sd_model_checkpoint": "nope"}}, 422, "nope"),
        ("txt2img", SMALL | {"override_settings": {"samples_format": "tiff"}}, 422, "tiff"),
        ("img2img", SMALL | {"init_images": ["AAAA"]}, 501, "draw from a picture"),
        ("interrogate", {"image": "AAAA"}, 501, "describe"),
        ("options", {"sd_model_checkpoint": "nope"}, 422, "nope"),
        ("options", {"sd_model_checkpoint": 5}, 422, "text"),
        ("png-info", {"image": "!!"}, 422, "base64"),
        ("png-info", {"image": base64.b64encode(b"no picture").decode()}, 422, "no PNG"),
        ("nope", {}, 404, "nope"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_errors_have_its_shape(quiet_server: Server, path: str, body: dict[str, Any], status: int, words: str) -> None:
    before = quiet_server.get("/v1/tasks?limit=1")[1]
    got, answer = quiet_server.post(f"{API}/{path}", body)
    assert got == status and set(answer) == {"error", "detail", "body", "errors"}
    assert words in answer["detail"]
    assert quiet_server.get("/v1/tasks?limit=1")[1] == before


def test_extensions_that_are_off_are_no_trouble(quiet_server: Server) -> None:
    scripts = {"ControlNet": {"args": []}, "ADetailer": {"args": [False]}}
    assert quiet_server.post(f"{API}/txt2img", SMALL | {"prompt": "x", "alwayson_scripts": scripts})[0] == 200


def test_every_list_that_webuiapi_knows(api: webuiapi.WebUIApi) -> None:
    assert api.util_get_model_names() == ["starter"] and api.util_get_current_model() == "starter"
    assert {"Euler a", "DPM++ 2M", "DDIM"} <= set(api.util_get_sampler_names())
    assert {"automatic", "karras"} <= set(api.util_get_scheduler_names())
    assert "starter-pop-art" in [row["name"] for row in api.get_loras()]
    assert all(row["prompt"].count("{prompt}") == 1 for row in api.get_prompt_styles())
    assert api.get_upscalers()[0]["name"] == "None" and api.get_scripts() == {"txt2img": [], "img2img": []}
    assert api.get_memory()["ram"]["total"] > 0 and api.get_cmd_flags()["api"]
    for name in ("sd_vae", "latent_upscale_modes", "hypernetworks", "face_restorers", "realesrgan_models"):
        assert getattr(api, f"get_{name}")() == []
    assert api.get_embeddings()["skipped"] == {} and api.refresh_checkpoints() is None
    api.util_set_model("start")
    api.set_options(api.get_options())
    api.util_wait_for_ready(0.1)


def test_settings_of_a_picture(api: webuiapi.WebUIApi) -> None:
    drawn = api.txt2img(prompt="a red circle", seed=3, width=128, height=128)
    read = api.png_info(drawn.image)
    assert read.info == drawn.info["infotexts"][0]
    assert (read.parameters["Prompt"], read.parameters["seed"], read.parameters["steps"]) == ("a red circle", "3", "2")


def test_as_open_webui_asks(quiet_server: Server) -> None:
    empty: dict[str, str] = {"Authorization": ""}
    status, options = ask_json(quiet_server.address, "GET", f"{API}/options", **empty)
    assert status == 200 and options["sd_model_checkpoint"] == "starter"
    rows = ask_json(quiet_server.address, "GET", f"{API}/sd-models", **empty)[1]
    assert [(row["title"], row["model_name"]) for row in rows] == [("starter", "starter")]
    options["sd_model_checkpoint"] = rows[0]["model_name"]
    assert ask_json(quiet_server.address, "POST", f"{API}/options", options, **empty)[0] == 200
    body = {"prompt": "a red circle", "batch_size": 1, "width": 128, "height": 128, "steps": 2, "negative_prompt": "x"}
    status, answer = ask_json(quiet_server.address, "POST", f"{API}/txt2img", body, **empty)
    assert status == 200 and opened(answer["images"][0]).size == (128, 128)
    assert json.loads(answer["info"])["infotexts"][0].startswith("a red circle\nNegative prompt: x\nSteps: 2")


def test_as_sillytavern_asks(quiet_server: Server) -> None:
    def get(path: str) -> Any:
        status, answer = quiet_server.get(f"{API}/{path}")
        assert status == 200
        return answer

    assert get("options")["sd_model_checkpoint"]
    assert [row["title"] for row in get("sd-models")] and [row["name"] for row in get("samplers")]
    assert [row["name"] for row in get("schedulers")] and [row["name"] for row in get("upscalers")]
    assert get("latent-upscale-modes") == [] and get("sd-vae") == []
    assert quiet_server.post(f"{API}/options", {"sd_model_checkpoint": "starter"})[0] == 200
    idle = get("progress")
    assert (idle["progress"], idle["state"]["job_count"]) == (0, 0)
    body = SMALL | {
        "prompt": "a red circle", "negative_prompt": "", "sampler_name": "Euler a", "scheduler": "Automatic",
        "cfg_scale": 7, "override_settings": {"CLIP_stop_at_last_layers": 1}, "restore_faces": False,
        "enable_hr": False, "hr_upscaler": "Latent", "hr_scale": 2, "hr_additional_modules": [], "clip_skip": 1,
        "denoising_strength": 0.7, "hr_second_pass_steps": 0, "seed": -1, "save_images": True, "send_images": True,
        "do_not_save_grid": False, "do_not_save_samples": False, "override_settings_restore_afterwards": True,
    }  # fmt: skip
    status, answer = quiet_server.post(f"{API}/txt2img", body)
    assert status == 200 and len(answer["images"]) == 1
    assert quiet_server.post(f"{API}/interrupt")[0] == 200


def test_progress_while_it_draws(quiet_server: Server) -> None:
    thread, answers = start(quiet_server, prompt="a slow ring", width=128, height=128, steps=200, n_iter=3)

    def shown() -> Any:
        said = quiet_server.get(f"{API}/progress")[1]
        return said if said["current_image"] else None

    now = until(shown, "a preview")
    assert 0 < now["progress"] < 1 and now["state"]["job_count"] == 3
    assert 0 < now["state"]["sampling_step"] <= now["state"]["sampling_steps"] == 200
    assert opened(now["current_image"]).format == "JPEG"
    assert quiet_server.get(f"{API}/progress?skip_current_image=true")[1]["current_image"] is None
    assert quiet_server.post(f"{API}/skip") == (200, None)
    first, *rest = tasks_saying(quiet_server, "a slow ring")
    assert quiet_server.wait(first["id"])[0]["state"] == "cancelled"
    quiet_server.wait_until_drawing(rest[0]["id"])
    assert quiet_server.post(f"{API}/interrupt") == (200, {})
    thread.join()
    assert answers[0][0] == 200 and answers[0][1]["images"] == []
    assert [task["state"] for task in tasks_saying(quiet_server, "a slow ring")] == ["cancelled"] * 3


def test_interrupt_leaves_the_page_s_pictures_alone(quiet_server: Server) -> None:
    (mine,) = quiet_server.submit("a ring of the page", steps=200)
    quiet_server.wait_until_drawing(mine)
    assert quiet_server.post(f"{API}/interrupt") == (200, {})
    assert quiet_server.post(f"{API}/skip") == (200, None)
    assert quiet_server.task(mine)["state"] == "running"


def test_who_hangs_up_cancels(quiet_server: Server) -> None:
    body = json.dumps({"prompt": "a ring for nobody", "n_iter": 3, "steps": 200}).encode()
    head = f"POST {API}/txt2img HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    address = urlsplit(quiet_server.address)
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        tasks = until(lambda: tasks_saying(quiet_server, "a ring for nobody"), "the tasks")
        quiet_server.wait_until_drawing(tasks[0]["id"])
    ended = quiet_server.wait(*(task["id"] for task in tasks))
    assert [task["state"] for task in ended] == ["cancelled"] * 3


DOORS = [("/v1/images/generations", {"prompt": "evil"}), (f"{API}/txt2img", {"prompt": "evil", "steps": 2})]


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
    ids=str,
)
@pytest.mark.parametrize(("path", "body"), [*DOORS, (f"{API}/options", {"sd_model_checkpoint": "starter"})], ids=str)
def test_other_websites_are_refused_at_every_door(
    quiet_server: Server, path: str, body: dict[str, Any], headers: dict[str, str]
) -> None:
    before = quiet_server.get("/v1/tasks?limit=1")[1]
    kind = {"Content-Type": "application/json"}
    status, got, text = ask(quiet_server.address, "POST", path, json.dumps(body).encode(), kind | headers)
    is_form = "Content-Type" in headers and path.startswith("/v1/images/")  # where programs send files in forms
    assert status in ((400, 422) if is_form else (403,))
    assert "access-control-allow-origin" not in got
    assert set(json.loads(text)) == ({"error"} if path.startswith("/v1") else {"error", "detail", "body", "errors"})
    assert quiet_server.get("/v1/tasks?limit=1")[1] == before


@pytest.mark.parametrize(("path", "body"), DOORS, ids=str)
def test_bodies_are_bounded_at_every_door(quiet_server: Server, path: str, body: dict[str, Any]) -> None:
    status, answer = quiet_server.post(path, body | {"prompt": "x" * 9_000_000})
    assert status == 413 and "8 MB" in json.dumps(answer)
    status, answer = ask_json(quiet_server.address, "POST", path, [])
    assert status in (400, 422) and "error" in answer
    status, _, text = ask(quiet_server.address, "POST", path, b"{", {"Content-Type": "application/json"})
    assert status == 400 and "error" in json.loads(text)
