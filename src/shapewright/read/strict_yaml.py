"""YAML mappings as `Entry` values with line numbers, for configurations that strangers wrote.

Only plain data is read: no tags, no anchors or aliases (so that no bomb can expand), one document, at most `MAX_CHARACTERS` long,
`MAX_DEPTH` deep and `MAX_NODES` values. Errors: everything else is an `InputError` with its line.
"""

from __future__ import annotations

from typing import Any

import yaml

from ..errors import InputError, shown
from .keyed import Entry
from .located import place

MAX_CHARACTERS = 2**18
MAX_DEPTH = 20
MAX_NODES = 20_000

#: libyaml's parser where PyYAML was built with it: the same events, an order of magnitude sooner.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSING = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


def load_yaml(text: str, *, where: str) -> dict[str, Entry]:
    """The keys of the mapping in `text`; the line is that of the key. A key given twice must have the same value both times."""
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"the text is longer than {MAX_CHARACTERS} characters", where=where, hint="expected a configuration file")
    try:
        _require_plain(text, where)
        root = yaml.compose(text, Loader=_Loader)
    except InputError:
        raise
    except yaml.YAMLError as error:
        raise _syntax_error(error, where) from None
    except (ValueError, OverflowError) as error:  # an escape beyond Unicode
        raise InputError(f"not valid YAML ({shown(str(error))})", where=where, hint="check the YAML syntax") from None
    if not isinstance(root, yaml.MappingNode):
        raise InputError("expected a YAML mapping of keys and values", where=place(where, 1), hint="expected a configuration file")
    entries: dict[str, Entry] = {}
    for key_node, value_node in root.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError("a key is not a word", where=place(where, line), hint="expected `key: value`")
        entry = Entry(value=_value(value_node, place(where, line)), line=line, file=where)
        merge(entries, {str(key_node.value): entry})
    return entries


def merge(entries: dict[str, Entry], more: dict[str, Entry]) -> None:
    """Add `more` to `entries`, with dashes of keys as underscores; two different values of one key are refused."""
    for raw, entry in more.items():
        key = raw.replace("-", "_")
        earlier = entries.get(key)
        if earlier and earlier.value != entry.value:
            raise InputError(
                f"{shown(key)} is {shown(entry.value)}, but {shown(earlier.value)} in {earlier.place}",
                where=entry.place, hint="keep one of them", field=key,
            )  # fmt: skip
        entries.setdefault(key, entry)


def _require_plain(text: str, where: str) -> None:
    """Walk the parser's events, which nest without recursion, before any tree is built."""
    depth = nodes = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line + 1
        depth += isinstance(event, _OPENING) - isinstance(event, _CLOSING)
        nodes += isinstance(event, yaml.NodeEvent)
        documents += isinstance(event, yaml.DocumentStartEvent)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise InputError("YAML anchors and aliases are not read", where=place(where, line), hint="write the value out")
        if getattr(event, "tag", None) is not None:
            raise InputError(f"the YAML tag {shown(event.tag)} is not read", where=place(where, line), hint="remove the tag")
        if depth > MAX_DEPTH:
            raise InputError(f"values are nested more than {MAX_DEPTH} deep", where=place(where, line), hint="expected a configuration")
        if nodes > MAX_NODES:
            raise InputError(f"more than {MAX_NODES} values", where=place(where, line), hint="expected a configuration")
        if documents > 1:
            raise InputError("a second YAML document begins", where=place(where, line), hint="give one document a file")


def _value(node: yaml.Node, where: str) -> object:
    """Plain Python data of a node; a scalar that only looks like a number or a date stays the text that it is."""
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, where) for child in node.value]
    if isinstance(node, yaml.MappingNode):
        return {str(getattr(key, "value", "")): _value(child, where) for key, child in node.value}
    if node.tag in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:binary"):
        return str(node.value)
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except (yaml.YAMLError, ValueError, OverflowError, KeyError):
        return str(node.value)


def _syntax_error(error: yaml.YAMLError, where: str) -> InputError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "a character that YAML does not allow"
    return InputError(
        f"not valid YAML ({str(problem).splitlines()[0][:80]})",
        where=place(where, mark.line + 1 if mark else None), hint="check the YAML syntax",
    )  # fmt: skip
