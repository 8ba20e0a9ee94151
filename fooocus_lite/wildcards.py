"""Words that a prompt leaves open: ``__list__`` takes one from a word list, ``[[a, b]]`` one a picture.

Everything follows from the seed and the picture's place in its batch, so the same recipe gives
the same words on every machine and every Python.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

MAX_ROUNDS = 64
#: Of all wildcards of a prompt; lists that name each other could ask for hundreds of thousands.
MAX_WORDS = 2_000
MAX_NESTED_ARRAYS = 8
_WILDCARD = re.compile(r"__([\w-]+?(?:/[\w-]+?)*)__")
_BRACKET = re.compile(r"\\.|[\[\]]", re.DOTALL)
_PIECE = re.compile(r"\\.|[(<\[\]>),]|[^\\(<\[\]>),]+|\\", re.DOTALL)

FindList = Callable[[str], Sequence[str] | None]
Pick = Callable[[Sequence[str]], str]


def random_pick(rng: Random) -> Pick:
    """Picks by chance: the same choices for the same state of ``rng``."""
    return lambda words: words[_below(rng, len(words))]


def ordered_pick(index: int) -> Pick:
    """Picks line ``index`` of every list, starting over at its end."""
    return lambda words: words[index % len(words)]


def _below(rng: Random, count: int) -> int:
    # What Random.choice does, written out: of Random only getrandbits and random stay as they are for ever.
    bits = count.bit_length()
    while (number := rng.getrandbits(bits)) >= count:
        pass
    return number


class Wildcards:
    """Fills the wildcards of one prompt's lines, with what it has to say about them.

    Attributes:
        missing: Names of which there is no list, in the order met.
        endless: Names that were still there after `MAX_ROUNDS`: a list refers to itself.
        too_long: Names whose words no longer fitted, or were more than `MAX_WORDS`.
    """

    def __init__(self, find: FindList, pick: Pick, room: int) -> None:
        """``room``: how many characters all lines together may grow by."""
        self._find, self._pick, self._room = find, pick, room
        self._taken = 0
        self.missing: dict[str, None] = {}
        self.endless: dict[str, None] = {}
        self.too_long: dict[str, None] = {}

    def fill(self, line: str) -> str:
        """``line`` with a word for each wildcard, left to right; then for those that these words hold.

        A missing list leaves its bare name; with a folder in it, it stays as written, as no reader of
        Fooocus prompts takes it for a wildcard.
        """
        for _ in range(MAX_ROUNDS):
            before = self._taken
            for name in _WILDCARD.findall(line):
                line = self._with_word(line, name)
            if self._taken == before:
                return line
        self.endless |= dict.fromkeys(name for name in _WILDCARD.findall(line) if name not in self.missing)
        return _WILDCARD.sub("", line)

    def _with_word(self, line: str, name: str) -> str:
        """``line`` with a word in the first place of that name, as in Fooocus: an earlier word may have brought it."""
        tag, words = f"__{name}__", self._find(name)
        if not words:
            self.missing[name] = None
            return line if "/" in name else line.replace(tag, name)
        word = self._pick(words)
        growth = max(0, len(word) - len(tag))
        if growth > self._room or self._taken == MAX_WORDS:
            self.too_long[name] = None
            return line.replace(tag, name.rpartition("/")[2], 1)
        self._room -= growth
        self._taken += 1
        return line.replace(tag, word, 1)


def choose_from_arrays(lines: Sequence[str], index: int) -> tuple[list[str], int]:
    """The lines with one entry of each ``[[…]]``, and how many combinations there are.

    The first array changes fastest from picture to picture, over all lines; after the last
    combination the first comes again. Entries stand between commas that no bracket holds; their
    spaces stay. An array within the chosen entry comes after all others.
    """
    chosen, combinations = list(lines), 1
    for _ in range(MAX_NESTED_ARRAYS):
        arrays = [_outermost_arrays(line) for line in chosen]
        if not any(arrays):
            break
        for at, line in enumerate(chosen):
            parts, done = list[str](), 0
            for start, end in arrays[at]:
                entries = _entries(line[start + 2 : end - 2])
                index, place = divmod(index, len(entries))
                combinations *= len(entries)
                parts += [line[done:start], entries[place]]
                done = end
            chosen[at] = "".join([*parts, line[done:]])
    return chosen, combinations


def _outermost_arrays(line: str) -> list[tuple[int, int]]:
    """(start, end) of each ``[[…]]`` that no other holds, left to right."""
    found: list[tuple[int, int]] = []
    waiting: list[int] = []
    last = (-1, -1)
    for match in _BRACKET.finditer(line):
        at = match.start()
        if match[0] == "[":
            waiting.append(at)
        elif match[0] == "]" and waiting:
            start = waiting.pop()
            # Of three in a row, "[[[a, b]]]", the outer pair is a weight around the array.
            if last == (start + 1, at - 1) and (not found or found[-1] != (start + 1, at)):
                while found and found[-1][0] > start:
                    found.pop()
                found.append((start, at + 1))
            last = (start, at)
    return found


def _entries(inside: str) -> list[str]:
    """Split at commas that no bracket holds; at every comma where brackets do not pair up."""
    entries, depth = [list[str]()], 0
    for token in _PIECE.findall(inside):
        if token == "," and depth == 0:
            entries.append([])
            continue
        depth += (token in ("(", "<", "[")) - (token in (")", ">", "]"))
        if depth < 0:
            break
        entries[-1].append(token)
    return ["".join(entry) for entry in entries] if depth == 0 else inside.split(",")
