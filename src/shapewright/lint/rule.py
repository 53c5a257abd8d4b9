"""`Rule`: a code, a name, a page, and the function that looks for the fault; `load_rules` finds them all in `rules/`.

A rule's module is called after its code and name (`rules/sw101_vocab_not_padded.py`) and holds `check(case) -> Iterator[Fault]`; its
docstring is the page that `shapewright rule CODE` prints. `YIELDS_TO` names codes that explain the same fault better: where one of them
speaks of the same field, the rule is silent.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from ..errors import InputError, shown, unknown_name
from . import rules as rules_package
from .case import Case
from .change import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule by its `code` (SW101) and `name` (VocabNotPadded); `page` is Markdown, its first line says what the rule finds."""

    code: str
    name: str
    page: str
    check: Callable[[Case], Iterator[Fault]]
    yields_to: tuple[str, ...] = ()

    @property
    def summary(self) -> str:
        """One line."""
        return self.page.splitlines()[0]


@cache
def load_rules() -> tuple[Rule, ...]:
    """All rules by code."""
    names = sorted(module.name for module in pkgutil.iter_modules(rules_package.__path__) if module.name.startswith("sw"))
    return tuple(_rule(name) for name in names)


def _rule(module_name: str) -> Rule:
    module = importlib.import_module(f"{rules_package.__name__}.{module_name}")
    code, _, name = module_name.partition("_")
    return Rule(
        code=code.upper(), name="".join(word.capitalize() for word in name.split("_")), page=inspect.getdoc(module) or "",
        check=module.check, yields_to=getattr(module, "YIELDS_TO", ()),
    )  # fmt: skip


def find_rule(word: str) -> Rule:
    """The rule of a code or name, in any case; an unknown one is refused with the nearest of its kind."""
    for rule in load_rules():
        if word.lower() in (rule.code.lower(), rule.name.lower()):
            return rule
    is_code = word.upper().startswith("SW") or any(map(str.isdigit, word))
    raise unknown_name("rule", word, [rule.code if is_code else rule.name for rule in load_rules()])


def select_rules(select: str | Sequence[str] = (), ignore: str | Sequence[str] = ()) -> tuple[Rule, ...]:
    """Rules that `select` names (none: all) and `ignore` does not; a word is what `matching_rules` takes, and may stand alone.

    Errors: `InputError` for an unknown word, and where no rule is left.
    """
    wanted, unwanted = _words(select), _words(ignore)
    chosen = {rule for word in wanted or ("ALL",) for rule in matching_rules(word)}
    left_out = {rule for word in unwanted for rule in matching_rules(word)}
    if chosen <= left_out:
        what = f"no rule is left: {_doing(unwanted, 'ignore')} all that {_doing(wanted or ('ALL',), 'select')}"
        raise InputError(what, hint="ignore fewer rules, or select others")
    return tuple(rule for rule in load_rules() if rule in chosen and rule not in left_out)


def _doing(words: Sequence[str], verb: str) -> str:
    return f"{' and '.join(words)} {verb}{'s' if len(words) == 1 else ''}"


def _words(words: str | Sequence[str]) -> tuple[str, ...]:
    return (words,) if isinstance(words, str) else tuple(words)


def matching_rules(word: str) -> tuple[Rule, ...]:
    """The rules that a code, the beginning of some (SW1), a name, or ALL means, in any case; never none."""
    if not isinstance(word, str) or not word.strip():
        raise InputError(f"{shown(word)} names no rule", hint="give a code such as SW101, its beginning, or ALL")
    if word.upper() == "ALL":
        return load_rules()
    begun = tuple(rule for rule in load_rules() if rule.code.startswith(word.upper()))
    return begun or (find_rule(word),)
