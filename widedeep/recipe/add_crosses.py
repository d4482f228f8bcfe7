"""Adds crosses to the text of a recipe; all other lines and comments stay as they are."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from widedeep.errors import Fault, RecipeError
from widedeep.recipe.dump import cross_line, short_form
from widedeep.recipe.places import Places
from widedeep.recipe.schema import CrossSettings
from widedeep.recipe.strict_yaml import read_yaml, scan_yaml

_BREAKS = "\n\r\x85\u2028\u2029"
_BREAK = rf"(?:\r\n|\r(?!\n)|[{_BREAKS.replace(chr(13), '')}])"
_COMMENT = rf"#[^{_BREAKS}]*"
_OPENING = (
    yaml.BlockMappingStartToken,
    yaml.BlockSequenceStartToken,
    yaml.FlowMappingStartToken,
    yaml.FlowSequenceStartToken,
)
_CLOSING = (yaml.BlockEndToken, yaml.FlowMappingEndToken, yaml.FlowSequenceEndToken)
_NOT_COPIED = (yaml.AnchorToken, yaml.AliasToken, yaml.TagToken)


def add_crosses(text: str, crosses: Sequence[CrossSettings], comments: Sequence[str] = (), *, source: str = "") -> str:
    """The text of a recipe with `crosses` added: after those that it lists, or in a new section after `features`.

    Each cross takes a line. A cross of fields that the recipe crosses already, in any order, is left out. `comments` is
    empty or has one text per cross, which may be empty. `source` stands for the file in faults. `text` is the file's
    content with its line breaks and byte order mark, as `path.read_bytes().decode()` gives it; new lines end as its
    lines do. A list in `[ ]` on the section's own line is spread over lines; one over several lines grows within its
    brackets.

    Raises RecipeError where the text is no valid YAML mapping or is written in a way that cannot be edited.
    """
    old = _data(text, source)
    listed = {frozenset(_fields(entry)) for entry in old.get("crosses") or []}
    added, lines = [], []
    for cross, comment in zip(crosses, comments or [""] * len(crosses), strict=True):
        if frozenset(cross.fields) not in listed:
            listed.add(frozenset(cross.fields))
            added.append(cross)
            lines.append(_Line(cross_line(cross), _one_line(comment)))
    if not added:
        return text
    try:
        edited = _edited(text, lines)
    except _CannotEditError as error:
        raise RecipeError([Fault("crosses", str(error), error.line, source)]) from None
    _verify(edited, {**old, "crosses": [*(old.get("crosses") or []), *map(short_form, added)]})
    return edited


class _CannotEditError(Exception):
    """The text is right, but written in a way that is not edited; the message says how to write it."""

    def __init__(self, message: str, token: yaml.Token | None = None) -> None:
        super().__init__(message)
        self.line = None if token is None else token.start_mark.line + 1


@dataclass(frozen=True)
class _Line:
    """What one cross adds."""

    cross: str
    comment: str

    def entry(self, comma: str = "") -> str:
        return self.cross + comma + (f"  # {self.comment}" if self.comment else "")


@dataclass(frozen=True)
class _Section:
    """A top-level key's value in the text."""

    column: int
    """Blanks before the key."""
    start: int
    """Just behind the colon."""
    tokens: list[yaml.Token]
    """The value's tokens (none if it is empty), without those that end a block, which stand further on."""

    @property
    def end(self) -> int:
        """The position just after the last character that is not a comment or blank."""
        if not self.tokens:
            return self.start
        last = self.tokens[-1]
        if isinstance(last, yaml.ScalarToken) and last.style in ("|", ">"):
            raise _CannotEditError("nothing can be added behind a text in block style (| or >): quote it", last)
        return _index(last.end_mark)


def _data(text: str, source: str) -> dict[str, Any]:
    document = read_yaml(text)
    places = Places(source, document.lines)
    faults = [places.fault(finding) for finding in document.findings if not finding.unread]
    if not faults and not isinstance(document.data, dict):
        faults = [Fault("", "a recipe is a mapping of sections: nothing can be added to this", source=source)]
    if not faults and not isinstance(document.data.get("crosses"), list | None):
        faults = [Fault("crosses", "must be a list to be added to", document.lines[("crosses",)], source)]
    if faults:
        raise RecipeError(faults)
    data: dict[str, Any] = document.data
    return data


def _fields(entry: Any) -> list[str]:
    names = entry.get("fields") if isinstance(entry, dict) else entry
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _one_line(comment: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in comment).split())


def _edited(text: str, lines: Sequence[_Line]) -> str:
    sections = _sections(text)
    section = sections.get("crosses")
    if section is None:
        return _with_section(text, sections, lines)
    for token in section.tokens:
        if isinstance(token, _NOT_COPIED):
            raise _CannotEditError("anchors (&), aliases (*) and tags (!) are not edited: write the crosses out", token)
    if section.tokens and isinstance(section.tokens[0], yaml.BlockSequenceStartToken | yaml.BlockEntryToken):
        return _behind_entries(text, section, lines)
    is_flow = bool(section.tokens) and isinstance(section.tokens[0], yaml.FlowSequenceStartToken)
    if is_flow and re.search(_BREAK, text[section.start : section.end]):
        return _within_brackets(text, section, lines)
    return _as_lines(text, section, lines)


def _sections(text: str) -> dict[str, _Section]:
    """The top-level keys that are written in the text, `key: …` on lines of their own."""
    spans: list[list[yaml.Token]] = []
    depth = 0
    for token in scan_yaml(text):
        if isinstance(token, _OPENING):
            if depth == 0 and not isinstance(token, yaml.BlockMappingStartToken):
                raise _CannotEditError("a recipe in { } is not edited: write its sections on lines of their own", token)
            depth += 1
        elif isinstance(token, _CLOSING):
            depth -= 1
        if depth == 1 and isinstance(token, yaml.KeyToken):
            spans.append([])
        elif depth >= 1 and spans:
            spans[-1].append(token)
        elif spans and depth == 0:
            break
    sections = {}
    for span in spans:
        colon = next((place for place, token in enumerate(span) if isinstance(token, yaml.ValueToken)), None)
        key = next((token for token in span if isinstance(token, yaml.ScalarToken)), None)
        if colon is not None and key is not None:
            value = [token for token in span[colon + 1 :] if not isinstance(token, yaml.BlockEndToken)]
            sections[key.value] = _Section(span[0].start_mark.column, _index(span[colon].end_mark), value)
    return sections


def _with_section(text: str, sections: Mapping[str, _Section], lines: Sequence[_Line]) -> str:
    """A new section behind `features` and the indented comments that end it."""
    features = sections.get("features")
    if features is None:
        raise _CannotEditError("are added behind the section `features`, which is not written out here")
    margin = " " * features.column
    place = _behind_comments(text, features)
    return text[:place] + _line_break(text) + f"{margin}crosses:" + _block(text, lines, f"{margin}  ") + text[place:]


def _behind_entries(text: str, section: _Section, lines: Sequence[_Line]) -> str:
    """After the last entry of a list of lines, indented as the first one is."""
    dash = next(token for token in section.tokens if isinstance(token, yaml.BlockEntryToken))
    place = _behind_comments(text, section)
    return text[:place] + _block(text, lines, " " * dash.start_mark.column) + text[place:]


def _as_lines(text: str, section: _Section, lines: Sequence[_Line]) -> str:
    """Nothing, `null` or a list in brackets on one line: its entries get lines of their own, as they are written."""
    entries = [
        _Line(text[_index(entry[0].start_mark) : _index(entry[-1].end_mark)], "")
        for entry in _entries_in_brackets(section.tokens)
    ]
    start, end = section.start, section.end
    if re.search(_BREAK, text[start:end]):  # a `null` on a line of its own, which comments may stand before
        start = _index(section.tokens[0].start_mark)
    place = _behind_comments(text, section)
    block = _block(text, [*entries, *lines], " " * (section.column + 2))
    return text[:start] + text[end:place] + block + text[place:]


def _within_brackets(text: str, section: _Section, lines: Sequence[_Line]) -> str:
    """A line each before the closing bracket; a comment behind the last entry stays on its line."""
    entries = _entries_in_brackets(section.tokens)
    before = section.tokens[-2]
    end = _index(before.end_mark)
    comma = "" if isinstance(before, yaml.FlowEntryToken) or not entries else ","
    margin = " " * (section.column + 2)
    if entries:
        start = _index(entries[-1][0].start_mark)
        written = re.split(_BREAK, text[:start])[-1]
        margin = margin if written.strip(" ") else written
    place, closing = _line_end(text, end), ""
    if not re.fullmatch(rf"[ \t]*(?:{_COMMENT})?", text[end:place]):
        place, closing = end, _line_break(text) + " " * section.column
    grown = "".join(_line_break(text) + margin + line.entry(",") for line in lines)
    return text[:end] + comma + text[end:place] + grown + closing + text[place:]


def _entries_in_brackets(tokens: Sequence[yaml.Token]) -> list[list[yaml.Token]]:
    """The tokens of each entry of a list in brackets; no entries if `tokens` are no such list."""
    entries: list[list[yaml.Token]] = [[]]
    depth = 0
    for token in tokens[1:-1]:
        depth += isinstance(token, _OPENING) - isinstance(token, _CLOSING)
        if depth == 0 and isinstance(token, yaml.FlowEntryToken):
            entries.append([])
        else:
            entries[-1].append(token)
    return [entry for entry in entries if entry]


def _block(text: str, lines: Sequence[_Line], margin: str) -> str:
    return "".join(f"{_line_break(text)}{margin}- {line.entry()}" for line in lines)


def _behind_comments(text: str, section: _Section) -> int:
    """The end of the section's last line, or of the last comment behind it that is indented deeper than its key."""
    comments = rf"(?:(?:{_BREAK}[ \t]*)*{_BREAK} {{{section.column + 1},}}{_COMMENT})*"
    place = _line_end(text, section.end)
    match = re.compile(comments).match(text, place)
    return match.end() if match else place


def _line_end(text: str, place: int) -> int:
    match = re.compile(_BREAK).search(text, place)
    return match.start() if match else len(text)


def _line_break(text: str) -> str:
    match = re.search(r"\r\n|\n|\r", text)
    return match[0] if match else "\n"


def _index(mark: yaml.Mark) -> int:
    index: int = mark.index
    return index


def _verify(edited: str, expected: dict[str, Any]) -> None:
    """Read the edited text again. Raises AssertionError, which is a bug, if it does not hold what it should."""
    document = read_yaml(edited)
    faults = [finding for finding in document.findings if not finding.unread]
    # As JSON, so that True, 1 and 1.0 differ and NaN equals itself.
    same = json.dumps(document.data, sort_keys=True) == json.dumps(expected, sort_keys=True)
    if faults or not same:
        raise AssertionError(f"crosses were added wrongly to a recipe: {[str(fault) for fault in faults]}")
