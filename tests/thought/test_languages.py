"""Language files: which one counts, what is wrong with one, and how large they may be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fooocus_lite.language_files import MAX_CHARS, MAX_SENTENCES, Language, read_words
from fooocus_lite.library import Library, load_library
from fooocus_lite.settings import load_settings
from tests import fooocus_like


def write(root: Path, name: str, data: Any) -> Path:
    path = root / "data" / "languages" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def load(root: Path, language: str = "", **others: str) -> Library:
    given = {"preset": "plain", **others} | ({"language": language} if language else {})
    return load_library(load_settings(given, env={}, root=root))


def test_english_unless_another_one_is_chosen(root: Path) -> None:
    write(root, "de", {"Generate": "Erzeugen", " Seed ": " Keim\n", "Steps": "", "": "x"})
    assert load(root).language == Language() and load(root).problems == ()
    library = load(root, "DE")
    assert library.language == Language("de", {"Generate": "Erzeugen", "Seed": "Keim"})
    assert library.problems == ()


def test_a_changed_file_is_seen(root: Path) -> None:
    library = load(root, "de")
    assert library.language.words == {}
    path = write(root, "de", {"Seed": "Keim"})
    library = library.refreshed()
    assert library.language.words == {"Seed": "Keim"}
    assert library.refreshed() is library
    path.unlink()
    assert library.refreshed().language.words == {}


def test_one_that_is_not_there_names_those_that_are(root: Path) -> None:
    said = "There is no language '../de' (setting language, from --language); "
    assert load(root, "../de").problems == (said + "put its file into data/languages.",)
    write(root, "de", {"Seed": "Keim"})
    assert load(root, "../de").problems == (said + "there is de.",)
    write(root, "fr", {"Seed": "Graine"})
    assert load(root, "../de").problems == (said + "there are de, fr.",)
    assert load(root, "../de").language == Language()
    load(root, "\udcff").problems[0].encode()


@pytest.mark.parametrize(
    "text, problem",
    [
        ('{"Seed": "Keim",\n"Steps"}', "data/languages/bad.json, line 2: "),
        ('["Seed"]', "data/languages/bad.json is not a JSON object."),
        ('{"Seed": 7}', "data/languages/bad.json: the entry 'Seed' is no text of at most 2,000 characters; it is left"),
        ('{"a": 7, "b": [], "c": null}', "characters; 2 more like it are left out, too."),
        ("{" * 100_000, "data/languages/bad.json"),
    ],
)
def test_a_broken_file_is_named_and_the_rest_loads(root: Path, text: str, problem: str) -> None:
    write(root, "bad", text)
    write(root, "de", {"Seed": "Keim"})
    library = load(root, "de")
    (said,) = library.problems
    assert problem in said and library.language.words == {"Seed": "Keim"}
    assert load(root, "bad").problems == library.problems, "it is there, and one sentence says what is wrong with it"


def test_the_good_entries_of_a_file_count(root: Path) -> None:
    write(root, "de", {"Seed": 7, "Steps": "Schritte", "Long": "x" * (MAX_CHARS + 1), "y" * (MAX_CHARS + 1): "y"})
    library = load(root, "de")
    assert library.language.words == {"Steps": "Schritte"} and len(library.problems) == 1


def test_a_file_too_long_is_used_up_to_a_point(root: Path) -> None:
    write(root, "de", {str(number): "x" for number in range(MAX_SENTENCES + 1)})
    library = load(root, "de")
    assert len(library.language.words) == MAX_SENTENCES
    assert library.problems == ("data/languages/de.json holds 10,001 sentences; the first 10,000 are used.",)


def test_a_fooocus_folder_in_place_and_an_own_file_over_it(root: Path, tmp_path: Path) -> None:
    folder = fooocus_like.write_fooocus(tmp_path / "outside" / "Fooocus")
    library = load(root, "xx", legacy_folder=str(folder))
    assert library.language == Language("xx", {"Generate": "Machen"})
    write(root, "xx", {"Generate": "Los"})
    assert library.refreshed().language == Language("xx", {"Generate": "Los"})


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.text(),
        st.text(alphabet='[]{}",: \n\\0aué'),
        st.dictionaries(st.text(), st.one_of(st.text(), st.none(), st.integers())).map(json.dumps),
    )
)
def test_any_file_is_words_and_sentences(root: Path, text: str) -> None:
    path = write(root, "any", text.encode("utf-8", "replace").decode())
    problems: list[str] = []
    words = read_words(path, root, problems)
    assert all(english.strip() and said.strip() for english, said in words.items())
    json.dumps(words, ensure_ascii=False).encode()
    assert all(problem.startswith("data/languages/any.json") and problem.endswith(".") for problem in problems)
