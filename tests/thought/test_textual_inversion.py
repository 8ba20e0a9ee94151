"""``embedding:name`` in a prompt: which names are asked for, which files they are, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fooocus_lite.errors import BadValue
from fooocus_lite.library import Library
from fooocus_lite.plan import Plan, make_plan
from fooocus_lite.recipe import Recipe
from fooocus_lite.textual_inversion import named_embeddings, split_embeddings


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a embedding:foo, b", ["foo"]),
        ("(embedding:foo_2:1.1) [embedding:Bar-v3.1] embedding:foo_2.", ["foo_2", "Bar-v3.1"]),
        ("embedding:sub/foo.safetensors; EMBEDDING:x!", ["sub/foo.safetensors", "x"]),
        ("embedding: foo, preembedding:foo, embedding", []),
        ("", []),
    ],
)
def test_names_in_a_text(text: str, names: list[str]) -> None:
    assert named_embeddings([text]) == names


@given(st.text(max_size=60) | st.from_regex(r"(a|embedding:|[,() :.])*"))
def test_splitting_loses_nothing_but_the_word_itself(text: str) -> None:
    rebuilt = "".join(plain + (f"embedding:{name}" if name else "") for plain, name in split_embeddings(text))
    assert rebuilt.casefold() == text.casefold()


@pytest.fixture
def folder(root: Path) -> Path:
    """Three textual inversions, one of them a pickle, in the models folder."""
    folder = root / "models" / "embeddings"
    (folder / "People").mkdir(parents=True)
    for name in ("foo.safetensors", "foo.pt", "People/Ann.safetensors", "old.pt", "readme.txt"):
        (folder / name).write_bytes(b"x")
    return folder


def plan_of(library: Library, prompt: str, **fields: str) -> Plan:
    return make_plan(Recipe(prompt=prompt, **fields), library, 1)


def test_the_plan_names_the_files(folder: Path, load: Callable[[], Library]) -> None:
    library = load()
    foo, ann = str(folder / "foo.safetensors"), str(folder / "People" / "Ann.safetensors")
    plan = plan_of(library, "a embedding:foo (embedding:ann:1.2)", negative_prompt="embedding:people/ANN")
    assert plan.embeddings == (("foo", foo), ("ann", ann), ("people/ANN", ann))
    assert plan.warnings == ()
    assert plan_of(library, "embedding:foo.pt embedding:Foo.safetensors").embeddings[0] == ("foo.pt", foo)
    assert plan_of(library, "a red star").embeddings == ()


def test_one_that_is_not_there_is_said(folder: Path, load: Callable[[], Library]) -> None:
    plan = plan_of(load(), "a embedding:readme, embedding:../../secret, embedding:foo")
    assert plan.embeddings == (("foo", str(folder / "foo.safetensors")),)
    assert plan.warnings == (
        "There is no embedding readme; the picture was drawn without it.",
        "There is no embedding ../../secret; the picture was drawn without it.",
    )


def test_a_pickle_is_refused(folder: Path, load: Callable[[], Library]) -> None:
    with pytest.raises(BadValue, match=r"old\.pt is a pickle") as caught:
        plan_of(load(), "a embedding:old")
    assert ".safetensors" in caught.value.hint
    assert caught.value.field == "prompt"


def test_a_file_that_is_dropped_in_counts_at_once(folder: Path, load: Callable[[], Library]) -> None:
    library = load()
    assert library.refreshed() is library
    (folder / "new.safetensors").write_bytes(b"x")
    assert plan_of(library.refreshed(), "embedding:new").embeddings
