"""A picture is whole or not there, carries its recipe, and its reader trusts nobody."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import signal
import struct
import subprocess
import sys
import tracemalloc
import zlib
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from fooocus_lite import images
from fooocus_lite.errors import DiskProblem, FooocusError, NotFound
from fooocus_lite.events import ImageReady
from fooocus_lite.library import Library
from fooocus_lite.metadata import read_file
from fooocus_lite.picture_text import MAX_TEXT_BYTES, PictureInfo, describe_picture, read_picture, read_recipe
from fooocus_lite.plan import make_plan, resolve
from fooocus_lite.png import encode_png
from fooocus_lite.recipe import MAX_PROMPT_CHARS, MAX_SEED, ImageFormat, Recipe
from tests.deeds.conftest import a_recipe

AT = datetime(2031, 5, 4, 3, 2, 1)
WORDS = 'a red ★ star, שלום, 日本, 😀👨‍👩‍👧, "quoted" \\ {prompt} </script> \x7f\r\n\ttab'


def a_picture(width: int = 32, height: int = 16) -> ImageReady:
    rgb = np.random.default_rng(1).integers(0, 256, width * height * 3, dtype=np.uint8).tobytes()
    return ImageReady(width=width, height=height, rgb=rgb, facts={"device": "cpu", "dtype": "fp32", "seconds": 1.5})


def about(recipe: Recipe) -> PictureInfo:
    return PictureInfo(recipe=recipe, texts=(recipe.prompt + ", wet",), negative_texts=("dry",), model="starter")


def saved(tmp_path: Path, **fields: Any) -> Path:
    info = about(a_recipe(WORDS, **fields))
    return Path(images.save_image(a_picture(), info, task_id="0ab", output_dir=tmp_path, at=AT).path)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_the_recipe_comes_back_from_every_format(tmp_path: Path, image_format: str) -> None:
    path = saved(
        tmp_path, image_format=image_format, seed=MAX_SEED, styles=["Ölbild", "水彩"], negative_prompt="😀" * 9
    )
    info = read_picture(path)
    expected = about(
        a_recipe(WORDS, image_format=image_format, seed=MAX_SEED, styles=["Ölbild", "水彩"], negative_prompt="😀" * 9)
    )
    assert info == expected
    assert read_recipe(path) == expected.recipe
    assert path.parent.name == "2031-05-04"
    assert path.name.startswith(f"03-02-01_{MAX_SEED}_0ab.")
    with Image.open(path) as picture:
        assert (picture.size, picture.mode) == ((32, 16), "RGB")


@pytest.mark.parametrize("a1111_text", [True, False])
@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_other_programs_find_their_text_if_it_is_wanted(
    tmp_path: Path, image_format: ImageFormat, a1111_text: bool
) -> None:
    info = about(a_recipe(WORDS, image_format=image_format, steps=3, sampler="euler"))
    path = Path(images.save_image(a_picture(), info, task_id="4", output_dir=tmp_path, a1111_text=a1111_text).path)
    assert read_recipe(path) == info.recipe
    with Image.open(path) as picture:  # where the other programs look
        picture.load()
        exif = picture.getexif().get_ifd(0x8769)
        found = picture.info.get("parameters") if image_format == "png" else exif.get(0x9286)
    if image_format != "png" and found:
        found = found[8:].decode("utf-16-be") if found.startswith(b"UNICODE\0") else None
    if a1111_text:
        assert found and found.startswith(f"{WORDS}, wet\nNegative prompt: dry\nSteps: 3, Sampler: Euler,")
        assert read_file(path).scheme == "fooocus_lite", "ours says more"
    else:
        assert found is None


def test_a_jpeg_with_room_for_one_text_keeps_ours(tmp_path: Path) -> None:
    info = about(a_recipe("x" * 15_000, image_format="jpeg"))
    path = Path(images.save_image(a_picture(), info, task_id="5", output_dir=tmp_path).path)
    assert path.suffix == ".jpg" and read_recipe(path) == info.recipe
    with Image.open(path) as picture:
        assert picture.getexif().get_ifd(0x8769)[0x9286].startswith(b"ASCII")


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 1), (1, 5), (64, 48), (257, 131)])
def test_png_keeps_every_pixel(width: int, height: int) -> None:
    image = a_picture(width, height)
    with Image.open(io.BytesIO(encode_png(image.rgb, width, height, {"key": WORDS}))) as picture:
        assert picture.tobytes() == image.rgb
        assert picture.text["key"] == WORDS  # type: ignore[attr-defined]
        picture.close()
    with pytest.raises(ValueError, match="pixels"):
        encode_png(image.rgb, width + 1, height, {})


def test_a_resolved_recipe_makes_the_same_plan_again(tmp_path: Path, library: Library) -> None:
    recipe = resolve(a_recipe(WORDS), library, 5)
    plan = make_plan(recipe, library, 5)
    info = describe_picture(recipe, plan, {"device": "cpu"})
    path = Path(images.save_image(a_picture(), info, task_id="1", output_dir=tmp_path / "out").path)
    again = read_picture(path)
    assert make_plan(again.recipe, library, 99) == plan
    assert (again.texts, again.model, again.facts) == (plan.texts, "fake", {"device": "cpu"})
    assert str(tmp_path).encode() not in path.read_bytes()


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_the_longest_prompts_fit(tmp_path: Path, image_format: str) -> None:
    longest = "😀" * MAX_PROMPT_CHARS
    info = about(a_recipe(longest, negative_prompt=longest, image_format=image_format))
    path = Path(images.save_image(a_picture(), info, task_id="2", output_dir=tmp_path).path)
    assert read_recipe(path) == info.recipe
    assert path.suffix == (".webp" if image_format == "webp" else ".png")  # a JPEG has no room for it


def test_words_that_many_styles_repeat_do_not_crowd_out_the_recipe(tmp_path: Path, library: Library) -> None:
    recipe = resolve(a_recipe("😀" * MAX_PROMPT_CHARS), library, 5)
    plan = dataclasses.replace(make_plan(recipe, library, 5), texts=(recipe.prompt,) * 30)
    info = describe_picture(recipe, plan, {})
    path = Path(images.save_image(a_picture(), info, task_id="3", output_dir=tmp_path).path)
    assert read_picture(path).texts == () and read_recipe(path) == recipe


def test_nothing_is_overwritten_and_no_part_stays(tmp_path: Path) -> None:
    path = saved(tmp_path)
    before = path.read_bytes()
    with pytest.raises(DiskProblem):
        saved(tmp_path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, "disk_full"), (errno.EROFS, "not_writable")])
def test_a_disk_that_gives_up_midway_is_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: str
) -> None:
    def give_up(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fooocus_lite.disk.os.fsync", give_up)
    with pytest.raises(DiskProblem) as caught:
        saved(tmp_path)
    assert caught.value.code == code
    assert str(tmp_path / "2031-05-04") in caught.value.problem
    assert list((tmp_path / "2031-05-04").iterdir()) == []


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "2031-05-04").write_text("a file in its place")
    with pytest.raises(DiskProblem, match="2031-05-04") as caught:
        saved(tmp_path)
    assert "FOOOCUS_OUTPUT_DIR" in caught.value.hint


SAVER = """
import sys
from pathlib import Path
from fooocus_lite.events import ImageReady
from fooocus_lite.images import save_image
from fooocus_lite.picture_text import PictureInfo
from fooocus_lite.recipe import Recipe
image = ImageReady(width=512, height=512, rgb=bytes(range(256)) * 3072)
for number in range(100000):
    info = PictureInfo(recipe=Recipe(prompt="p", seed=number))
    save_image(image, info, task_id=f"{number:05d}", output_dir=Path(sys.argv[1]))
    print(number, flush=True)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="POSIX signals")
def test_a_kill_while_saving_leaves_only_whole_pictures(tmp_path: Path) -> None:
    for round_number in range(3):
        folder = tmp_path / str(round_number)
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(folder)], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        for _ in range(5 + round_number):
            process.stdout.readline()
        process.kill()
        process.wait()
        process.stdout.close()
        whole = list(folder.glob("*/*.png"))
        assert len(whole) >= 5 + round_number
        for path in whole:
            assert read_recipe(path).prompt == "p"
            with Image.open(path) as picture:
                picture.load()


def png_with(chunk: bytes, data: bytes) -> bytes:
    png = encode_png(bytes(12), 2, 2, {})
    head = png[:33]
    return head + struct.pack(">I", len(data)) + chunk + data + bytes(4) + png[33:]


def itxt(text: bytes, *, compressed: bool = False) -> bytes:
    return png_with(b"iTXt", b"fooocus_lite\0" + bytes([compressed]) + b"\0\0\0" + text)


def ztxt(data: bytes) -> bytes:
    return png_with(b"zTXt", b"fooocus_lite\0\0" + data)


def recipe_json(**fields: Any) -> bytes:
    return json.dumps({"version": 1, "recipe": {"prompt": "p"} | fields}).encode()


BOMB = zlib.compress(bytes(100_000_000), 9)
HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "signature alone": b"\x89PNG\r\n\x1a\n",
    "cut in a chunk": encode_png(bytes(12), 2, 2, {"fooocus_lite": "{}"})[:50],
    "no recipe": encode_png(bytes(12), 2, 2, {}),
    "deep": itxt(b"[" * 1_000_000),
    "deep objects": itxt(b'{"recipe":' * 200_000),
    "deep inside": itxt(b'{"recipe": {"prompt": "p"}, "facts": {"a": ' + b"[" * 400 + b"]" * 400 + b"}}" + b" "),
    "bomb zTXt": ztxt(BOMB),
    "bomb iTXt": itxt(BOMB, compressed=True),
    "broken zlib": ztxt(b"not zlib"),
    "not UTF-8": itxt(b"\xff\xfe{}"),
    "NaN": itxt(b'{"recipe": {"guidance_scale": NaN}}'),
    "infinity": itxt(b'{"recipe": {"guidance_scale": 1e999}}'),
    "long number": itxt(b'{"recipe": {"seed": ' + b"9" * 1_000_000 + b"}}"),
    "python": itxt(b"__import__('os').system('touch pwned')"),
    "list": itxt(b"[1, 2]"),
    "null recipe": itxt(b'{"recipe": null}'),
    "wrong types": itxt(recipe_json(prompt=["p"], steps={"a": 1})),
    "unknown field": itxt(recipe_json(teleport=True)),
    "bad seed": itxt(recipe_json(seed=-1)),
    "texts of numbers": itxt(b'{"recipe": {}, "texts": [1, null]}'),
    "newer version": itxt(b'{"version": 7, "recipe": {}}'),
    "version text": itxt(b'{"version": "x", "recipe": {}}'),
    "too long chunk": png_with(b"iTXt", b"fooocus_lite\0\0\0\0\0" + b"x" * MAX_TEXT_BYTES),
    "chunk beyond the end": b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 0xFFFFFFFF) + b"iTXtfooocus_lite\0",
    "JPEG cut": b"\xff\xd8\xff\xe1\xff\xffExif\0\0",
    "JPEG of markers": b"\xff\xd8" + b"\xff\xe1\0\x02" * 100_000,
    "WebP cut": b"RIFF\xff\xff\xff\xffWEBPEXIF\xff\xff\xff\x7f",
    "WebP of chunks": b"RIFF\0\0\0\0WEBP" + b"JUNK\0\0\0\0" * 200_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_one_sentence(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "some.png"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(FooocusError) as caught:
        read_picture(path)
    assert caught.value.code == "unreadable_picture"
    assert caught.value.problem.startswith("some.png ")
    assert caught.value.hint
    assert len(caught.value.problem) < 300
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["bomb zTXt", "bomb iTXt"])
def test_a_bomb_is_not_inflated(tmp_path: Path, name: str) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    with pytest.raises(FooocusError):
        read_picture(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * MAX_TEXT_BYTES  # the text would take 100,000,000 bytes


@pytest.mark.parametrize("side", [50_000, 2**31 - 1])
def test_a_header_that_claims_billions_of_pixels_is_refused(tmp_path: Path, side: int) -> None:
    path = tmp_path / "huge.png"
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header + bytes(4) + itxt(recipe_json())[33:]
    )
    with pytest.raises(FooocusError, match=f"claims to have {side:,} × {side:,} pixels"):
        read_recipe(path)
    with pytest.raises(FooocusError) as caught:
        images.thumbnail(path, tmp_path / "thumbs")
    assert caught.value.code == "unreadable_picture"


def test_text_that_other_programs_saved_again_is_still_found(tmp_path: Path) -> None:
    path = tmp_path / "again.png"
    text = PngImagePlugin.PngInfo()
    text.add_text("fooocus_lite", recipe_json(seed=4).decode(), zip=True)
    Image.new("RGB", (4, 4)).save(path, pnginfo=text)
    assert read_recipe(path).seed == 4
    text = PngImagePlugin.PngInfo()
    text.add_itxt("fooocus_lite", recipe_json(seed=5).decode(), zip=True)
    Image.new("RGB", (4, 4)).save(path, pnginfo=text)
    assert read_recipe(path).seed == 5
    with Image.open(saved(tmp_path, image_format="webp")) as picture:
        picture.save(tmp_path / "again.jpg", exif=picture.getexif())
    assert read_recipe(tmp_path / "again.jpg").prompt == WORDS


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(FooocusError, match=r"gone\.png cannot be read"):
        read_picture(tmp_path / "gone.png")
    with pytest.raises(NotFound):
        images.thumbnail(tmp_path / "gone.png", tmp_path)


@pytest.mark.parametrize("image_format", ["png", "jpeg", "webp"])
def test_thumbnails_are_small_and_made_once(tmp_path: Path, image_format: str) -> None:
    info = about(a_recipe(image_format=image_format))
    noise = a_picture(800, 500)  # nothing compresses worse
    path = Path(images.save_image(noise, info, task_id="3", output_dir=tmp_path / "out").path)
    small = images.thumbnail(path, tmp_path / "thumbs")
    assert small.stat().st_size <= images.THUMBNAILS[256]
    with Image.open(small) as picture:
        assert max(picture.size) <= 256
        assert abs(picture.width / picture.height - 1.6) < 0.05
    stamp = small.stat().st_mtime_ns
    assert images.thumbnail(path, tmp_path / "thumbs") == small
    assert small.stat().st_mtime_ns == stamp
    assert [p.suffix for p in (tmp_path / "thumbs").glob("*/*")] == [".jpg"]


def test_a_picture_whose_server_died_is_found_by_its_task(tmp_path: Path) -> None:
    path = saved(tmp_path)
    found = images.find_saved(tmp_path, "0ab", {"2031-05-04", "2031-05-05"})
    assert found and found.path == str(path) and (found.width, found.height) == (32, 16)
    assert images.find_saved(tmp_path, "ab", {"2031-05-04"}) is None
    path.rename(path.with_suffix(".png.part"))
    assert images.find_saved(tmp_path, "0ab", {"2031-05-04"}) is None


def test_a_deleted_picture_takes_its_small_copy_along(tmp_path: Path) -> None:
    path = saved(tmp_path / "outputs")
    small = images.thumbnail(path, tmp_path / "thumbs")
    images.delete_picture(path, tmp_path / "thumbs")
    assert not path.exists() and not small.exists()
    with pytest.raises(NotFound):
        images.delete_picture(path, tmp_path / "thumbs")


def test_a_picture_that_cannot_be_deleted_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path)

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))  # as Windows, while it is open elsewhere

    with monkeypatch.context() as patch, pytest.raises(DiskProblem, match="Permission denied") as caught:
        patch.setattr(Path, "unlink", refuse)
        images.delete_picture(path, tmp_path / "thumbs")
    assert caught.value.code == "not_writable" and caught.value.hint and path.exists()


def test_only_our_own_old_part_files_are_cleared(tmp_path: Path) -> None:
    whole = saved(tmp_path)
    ours = whole.with_name("03-02-01_7_0d1f0a9e5b01.png.part")
    young = whole.with_name("03-02-02_7_0d1f0a9e5b02.png.part")
    kept = [whole, young, whole.with_name("film.mkv.part"), tmp_path / ours.name, tmp_path / "2031-05" / ours.name]
    (tmp_path / "2031-05").mkdir()
    for path in (ours, *kept):
        path.touch()
        if path is not young:
            os.utime(path, (1e9, 1e9))
    assert images.clear_parts(tmp_path) == 1
    assert not ours.exists() and all(path.exists() for path in kept)
    assert images.clear_parts(tmp_path / "nowhere") == 0
