"""Strict YAML: plain data and the line of every key, without YAML's traps, with `${NAME}` from the environment.

What a plain (unquoted) scalar means here:

- `true`/`True`/`TRUE` and `false`/… are booleans; `yes`, `no`, `on`, `off`, `y`, `n` are text;
- nothing, `~`, `null` are null;
- `12`, `-3` are whole numbers; `0.5`, `1e-3`, `2.5e6`, `.inf` are numbers; `1e5` is the whole number 100000;
- everything else is text: dates, `12:30`, `0x1f`, `1_000`, and `010` too, whose zero would be lost in an identifier.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from widedeep.recipe.places import Finding, KeyPath

_TAG = "tag:yaml.org,2002:"
_WHOLE = r"[-+]?(?:0|[1-9][0-9]*)"
FLOAT_PATTERN = re.compile(
    rf"^(?:{_WHOLE}\.[0-9]*(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?|{_WHOLE}[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_MOST_WHOLE = 2**63
"""A power of ten from here on, such as 1e60, is a float."""
MOST_DEPTH = 100
"""How deeply keys and values may nest."""
_MOST_REPEATED = 100_000
"""Most keys and values that aliases may repeat: as defaults of thousands of columns, but no aliases of aliases."""
_TEXT_OF_VALUE = 200
"""So many characters of a text count as one more value."""
TOO_DEEP = "nests too deeply, or an alias (*) stands inside its own anchor (&)"
_WHOLE_POWER = re.compile(rf"({_WHOLE})[eE]\+?([0-9]{{1,2}})")
_SURROGATE = re.compile("[\ud800-\udfff]")
_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^{}]*))?\})?")


@dataclass
class Document:
    """What a YAML text says."""

    data: Any = None
    lines: dict[KeyPath, int | None] = field(default_factory=dict)
    """1-based line of each key and list entry, None where there is no text; `()` is the first line with content."""
    findings: list[Finding] = field(default_factory=list)
    """Syntax errors, duplicate keys, keys that are not text, unset variables."""


class TooLargeError(Exception):
    """A document expands, or nests, beyond what a recipe can; the text says which."""


class _Composer(yaml.SafeLoader):
    """PyYAML's parser, with the resolver of this module instead of YAML 1.1's, to a bounded depth."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node, and all below it. Raises TooLargeError."""
        self._depth += 1
        if self._depth > MOST_DEPTH + 1:
            raise TooLargeError(TOO_DEEP)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_Composer.yaml_implicit_resolvers = {}  # add_implicit_resolver would start from a copy of YAML 1.1's
for _name, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", rf"^{_WHOLE}$", "-+0123456789"),
    ("float", FLOAT_PATTERN.pattern, "-+0123456789."),
    ("merge", r"^<<$", "<"),
):
    _Composer.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))


def read_yaml(text: str, environment: Mapping[str, str] | None = None) -> Document:
    """Read one YAML document. Faults are put in `findings`, never raised.

    After a syntax error `data` is None. `environment` defaults to the process's own; `$${` writes a literal `${`.
    """
    document = Document()
    try:
        node = _Composer(text).get_single_node()
        if node is not None:
            document.lines[()] = node.start_mark.line + 1
            document.data = _Reading(document, os.environ if environment is None else environment).value(node, ())
    except yaml.reader.ReaderError as error:
        message = f"not valid YAML: the character {chr(int(error.character))!r} is not allowed"
        document.findings.append(Finding((), message, text.count("\n", 0, error.position) + 1))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.findings.append(Finding((), _syntax_message(error), mark.line + 1 if mark else None))
    except RecursionError:
        document.findings.append(Finding((), TOO_DEEP))
    except TooLargeError as error:
        document.data = None
        document.findings.append(Finding((), str(error)))
    return document


def scan_yaml(text: str) -> list[yaml.Token]:
    """The tokens of a text in which `read_yaml` finds no syntax error; their marks count characters from its start."""
    return list(yaml.scan(text, Loader=_Composer))


def _syntax_message(error: yaml.MarkedYAMLError) -> str:
    told = ", ".join(part for part in (error.context, error.problem) if part)
    hint = ""
    if "'\\t'" in told:
        hint = "; indent with blanks, not tabs"
    elif "flow" in told and "got '{'" in told:
        hint = "; inside [ ] and { } text with `${NAME}` needs quotes"
    elif "alias" in told:
        hint = "; text that starts with `*` needs quotes"
    elif "cannot start any token" in told or "mapping values are not allowed" in told:
        hint = "; text with special characters needs quotes"
    return f"not valid YAML: {told}{hint}"


@dataclass
class _Reading:
    """One walk from YAML nodes to plain data."""

    document: Document
    environment: Mapping[str, str]
    seen: set[int] = field(default_factory=set)
    """The nodes that were read so far, by their `id`."""
    num_repeated: int = 0

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._note(node, path)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            for index, entry in enumerate(node.value):
                self.document.lines[(*path, index)] = entry.start_mark.line + 1
            return [self.value(entry, (*path, index)) for index, entry in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            pairs = self._pairs(node, path)
            for key, (key_node, _) in pairs.items():
                self.document.lines[(*path, key)] = key_node.start_mark.line + 1
            return {key: self.value(value_node, (*path, key)) for key, (_, value_node) in pairs.items()}
        self._find(path, node, f"the tag {node.tag.replace(_TAG, '!!')} is not understood", unread=True)
        return None

    def _pairs(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key and value node of each key; keys merged in by `<<` come after the mapping's own and yield to them."""
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            self._note(key_node, path)
            if key_node.tag == _TAG + "merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != _TAG + "str":
                shown = key_node.value if isinstance(key_node, yaml.ScalarNode) else "a list or a mapping"
                self._find(path, key_node, f"a key must be text, is {shown or 'empty'}")
            elif key_node.value in pairs:
                first_line = pairs[key_node.value][0].start_mark.line + 1
                self._find((*path, key_node.value), key_node, f"written twice, first in line {first_line}: keep one")
            else:
                pairs[key_node.value] = (key_node, value_node)
        for merged in self._merged(node, path):
            pairs = {**self._pairs(merged, path), **pairs}
        return pairs

    def _merged(self, node: yaml.MappingNode, path: KeyPath) -> Iterator[yaml.MappingNode]:
        for key_node, value_node in node.value:
            if key_node.tag != _TAG + "merge":
                continue
            for source in value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]:
                if isinstance(source, yaml.MappingNode):
                    yield source
                else:
                    self._find(path, key_node, "`<<` takes an alias of a mapping, or a list of them")

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        kind = node.tag.removeprefix(_TAG)
        try:
            match kind:
                case "str":
                    return self._expanded(node, path)
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[node.value.lower()]
                case "int":
                    return int(node.value)
                case "float":
                    return _number(node.value)
        except (ValueError, KeyError):
            self._find(path, node, f"{node.value[:60]!r} does not read as !!{kind}", unread=True)
            return None
        self._find(path, node, f"the tag {node.tag.replace(_TAG, '!!')} is not understood", unread=True)
        return None

    def _expanded(self, node: yaml.ScalarNode, path: KeyPath) -> str:
        def replacement(match: re.Match[str]) -> str:
            name, default = match["name"], match["default"]
            if match[0] == "$${":
                return "${"
            if name is None:
                rule = "`${` starts a variable, `${NAME}` or `${NAME:-default}`; write `$${` for the text itself"
                self._find(path, node, rule, unread=True)
            elif default is not None:
                return self.environment.get(name) or default
            elif name in self.environment:
                return self.environment[name]
            else:
                rule = f"the environment variable {name} is not set: set it, or write ${{{name}:-default}}"
                self._find(path, node, rule, unread=True)
            return match[0]

        text = _REFERENCE.sub(replacement, node.value)
        if _SURROGATE.search(text):
            self._find(path, node, f"{text[:60]!r} is not valid Unicode text: half of a pair stands alone", unread=True)
        return text

    def _note(self, node: yaml.Node, path: KeyPath) -> None:
        if len(path) > MOST_DEPTH:
            raise TooLargeError(TOO_DEEP)
        if id(node) not in self.seen:
            self.seen.add(id(node))
            return
        # Aliases of aliases expand without end: a kilobyte can stand for billions of values.
        self.num_repeated += 1 + (len(node.value) // _TEXT_OF_VALUE if isinstance(node, yaml.ScalarNode) else 0)
        if self.num_repeated > _MOST_REPEATED:
            raise TooLargeError(
                f"its aliases (*) stand for more than {_MOST_REPEATED:,} keys and values, as aliases of aliases do: "
                "write out what is meant"
            )

    def _find(self, path: KeyPath, node: yaml.Node, message: str, unread: bool = False) -> None:
        self.document.findings.append(Finding(path, message, node.start_mark.line + 1, unread))


def _number(text: str) -> int | float:
    power = _WHOLE_POWER.fullmatch(text)
    if power:  # `buckets: 1e6` means a count
        whole = int(power[1]) * int(10 ** int(power[2]))
        return whole if abs(whole) < _MOST_WHOLE else float(text)
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
