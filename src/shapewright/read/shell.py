"""Words that a launch script passes to its commands, found without running it.

Variables (NAME=value, arrays NAME=( ... ) and NAME+=( ... )), defaults `${NAME:-value}` and arithmetic `$((A * B))` are expanded; `if`
follows the branch that its strings or numbers decide, else every branch. The environment, positional arguments, functions and the
output of commands are unknown and stay as written (with their `$`).

Errors: a script longer than `MAX_TEXT`, or that expands beyond `MAX_WORDS` words or `MAX_CHARACTERS` characters, is an `InputError`.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import InputError
from .located import place
from .shell_words import Command, Word, closing, commands, is_redirected_to

MAX_TEXT, MAX_VALUE, MAX_WORDS, MAX_CHARACTERS, MAX_ARITHMETIC, MAX_IFS = 2**18, 2**16, 50_000, 2**22, 200, 64
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?)=(.*)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*|[0-9@*#?$!-]")
_PARAMETER = re.compile(r"([A-Za-z_]\w*|[0-9]+)(?:\[([@*0-9])\])?(?::?([-=])(.*))?", re.DOTALL)
_WHOLE_ARRAY = re.compile(r'"?\$\{([A-Za-z_]\w*)\[[@*]\]\}"?')
#: What Python would parse, perhaps with a warning, but is no sum of integers and names.
_NOT_ARITHMETIC = re.compile(r"[^\w\s+*/%()-]|(?<!\w)\d+[A-Za-z_]")
_ARITHMETIC = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.floordiv,
               ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod}  # fmt: skip
_TESTS = {"==": operator.eq, "=": operator.eq, "!=": operator.ne, "-eq": operator.eq, "-ne": operator.ne, "-lt": operator.lt,
          "-le": operator.le, "-gt": operator.gt, "-ge": operator.ge}  # fmt: skip
#: What a value is cut into: redirections, what separates commands, and words, parts of which may be quoted or left to the shell.
_TOKEN = re.compile(
    r"(?P<redirection>(?:(?<!\S)\d+)?(?:<<<|<<-?|[<>]&|<>|>>|>\||[<>])|&>>?)|(?P<separator>\|\|?|&&|(?<!\S)&|&(?=\s|$)|;)"
    r"|(?:\$\((?:[^()]|\([^()]*\))*\)|\$\{[^{}]*\}|`[^`]*`|'[^']*'|\"[^\"]*\"|[^\s\\|&;<>]|(?<=\S)&(?=[^\s&>])|\\(?!\s))+"
)
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
#: Options of shells that run the text that follows.
_RUN_TEXT = ("-c", "-lc", "-ec", "-xc")
_LEADING = ("export", "local", "readonly", "declare", "then", "else", "do", "time", "exec", "{", "!")


@dataclass(frozen=True, slots=True)
class Argument:
    """A word after expansion and the line where it is written; None for arguments that came from no file.

    `is_separator` marks the ; | || & && that a variable holds, for `eval` to end a command at.
    """

    text: str
    line: int | None
    is_separator: bool = False


@dataclass(slots=True)
class Script:
    """What reading a script yields: each command's arguments, the variables, and lines whose `if` could not be decided."""

    where: str
    commands: list[list[Argument]] = field(default_factory=list)
    variables: dict[str, list[Argument]] = field(default_factory=dict)
    undecided: list[int] = field(default_factory=list)
    num_words: int = 0
    num_characters: int = 0

    def spend(self, num_words: int, num_characters: int) -> None:
        """Count what expansion makes, so that no script grows without bound."""
        self.num_words += num_words
        self.num_characters += num_characters
        if self.num_words > MAX_WORDS or self.num_characters > MAX_CHARACTERS:
            raise InputError("the script expands to too many words", where=self.where, hint="give the arguments themselves")


@dataclass(slots=True)
class _Branches:
    """An `if` being read: whether its current branch runs and whether an earlier one did; None: unknown."""

    is_taken: bool | None = False
    was_taken: bool | None = False

    def then(self, holds: bool | None) -> None:
        """A branch begins whose test `holds`; None: nobody but the shell can say."""
        if self.was_taken or holds is False:
            self.is_taken = False
        else:
            self.is_taken = None if self.was_taken is None else holds
        self.was_taken = True if self.was_taken or (holds and self.was_taken is False) else self.was_taken if holds is False else None

    def otherwise(self) -> None:
        """The `else` branch begins."""
        self.is_taken = None if self.was_taken is None else not self.was_taken


def read_script(text: str, where: str) -> Script:
    """Read every command of `text` in order."""
    if len(text) > MAX_TEXT:
        raise InputError(f"the script is longer than {MAX_TEXT} characters", where=where, hint="expected a launch script")
    script = Script(where)
    branches: list[_Branches] = []
    condition: list[Command] | None = None
    for command in commands(text, where):
        first = command.words[0].text
        if condition is not None and first != "then":
            condition.append(command)
        elif first in ("if", "elif"):
            if first == "if":
                branches.append(_Branches())
            condition = [Command(command.words[1:], "&&")] if command.words[1:] else []
        else:
            _enter_branch(script, branches, first, condition)
            condition = None
            _run_where_taken(script, branches, command)
        if len(branches) > MAX_IFS:
            raise InputError(f"`if`s are nested more than {MAX_IFS} deep", where=place(where, command.words[0].line))
    return script


def _enter_branch(script: Script, branches: list[_Branches], word: str, condition: list[Command] | None) -> None:
    """Move to the branch that `then`, `else` or `fi` begins."""
    if branches and condition is not None:
        branches[-1].then(_decide(script, condition))
    elif branches and word == "else":
        branches[-1].otherwise()
    elif branches and word == "fi":
        branches.pop()


def _run_where_taken(script: Script, branches: list[_Branches], command: Command) -> None:
    """Run a command unless one of its `if`s says no; remember flags whose `if` nobody but the shell can decide."""
    if command.words[0].text == "fi" or any(branch.is_taken is False for branch in branches):
        return
    if any(branch.is_taken is None for branch in branches) and any("--" in word.text for word in command.words):
        script.undecided.append(command.words[0].line)
    _run(script, command)


def _run(script: Script, command: Command) -> None:
    """Take an assignment into the variables; keep any other command's arguments."""
    words = list(command.words)
    while words and words[0].text in _LEADING and not command.is_array:
        words.pop(0)
    if words and words[0].text == "for" and len(words) > 1:
        script.variables.pop(words[1].text, None)
        return
    while words and (match := _ASSIGNMENT.fullmatch(words[0].text)):
        name, plus, value = match.groups()
        if command.is_array:
            items = expand(script, words[1:])
            words = []
        else:
            items = [Argument(_substitute(script, value), words[0].line)]
            words.pop(0)
        script.variables[name] = _appended(script.variables.get(name, []), items, command.is_array) if plus else items
    if words:
        script.commands.extend(separated(expand(script, words)))


def is_unknown(text: str) -> bool:
    """Whether an expanded word still holds something that only the shell knows."""
    return "$" in text or "`" in text


def _appended(old: list[Argument], new: list[Argument], is_array: bool) -> list[Argument]:
    if is_array or not old:
        return old + new
    return [*old[:-1], Argument((old[-1].text + new[0].text)[:MAX_VALUE], old[-1].line)]


def expand(script: Script, words: Sequence[Word]) -> list[Argument]:
    """The arguments that `words` become. A text that starts with `--`, or that `eval` or `-c` runs, is split at blanks, quoted or not."""
    arguments: list[Argument] = []
    for position, word in enumerate(words):
        is_run = position > 0 and (words[0].text == "eval" or words[position - 1].text in _RUN_TEXT)
        whole = _WHOLE_ARRAY.fullmatch(word.text)
        items = script.variables.get(whole[1]) if whole else None
        if items is None and not word.text.startswith(("'", '"')) and (name := word.text.strip("${}")) in script.variables:
            items = script.variables[name] if word.text in (f"${name}", f"${{{name}}}") else None
        is_variable = items is not None
        items = items if items is not None else [Argument(_substitute(script, word.text), word.line)]
        script.spend(len(items), sum(len(item.text) for item in items))
        for item in items:
            parts = split(item) if is_variable or is_run or item.text.lstrip().startswith("--") else [item]
            script.spend(len(parts), 0)
            arguments.extend(parts)
    return arguments


def split(item: Argument) -> list[Argument]:
    """Words of a value that spans blanks and lines, each with its own line, as `eval` would run it: redirections are left out."""
    found: list[Argument] = []
    is_target = False
    for match in _TOKEN.finditer(item.text):
        was_target, is_target = is_target, match["redirection"] is not None
        if is_target or (was_target and is_redirected_to(match[0]) and not match["separator"]):
            continue
        line = None if item.line is None else item.line + item.text.count("\n", 0, match.start())
        text = _QUOTED.sub(lambda quoted: quoted[1] or quoted[2] or "", match[0]).strip("'\"")
        found.append(Argument(text, line, is_separator=match["separator"] is not None))
    return found


def separated(arguments: Sequence[Argument]) -> list[list[Argument]]:
    """Arguments cut into commands at their separators."""
    cut: list[list[Argument]] = [[]]
    for argument in arguments:
        if argument.is_separator:
            cut.append([])
        else:
            cut[-1].append(argument)
    return [command for command in cut if command]


def _substitute(script: Script, raw: str, depth: int = 0) -> str:
    """`raw` with quotes removed and every known variable, default and sum put in; what is unknown stays as written."""
    out: list[str] = []
    at = 0
    quoted = False
    while at < len(raw):
        character = raw[at]
        if character == "'" and not quoted:
            end = closing(raw, at) or len(raw) + 1
            out.append(raw[at + 1 : end - 1])
            at = end
        elif character == '"':
            quoted, at = not quoted, at + 1
        elif character == "\\":
            out.append("\n" if raw[at + 1 : at + 2] == "\n" else raw[at + 1 : at + 2])
            at += 2
        elif character in "$`":
            text, at = _dollar(script, raw, at, depth)
            out.append(text)
        else:
            out.append(character)
            at += 1
    text = "".join(out)[:MAX_VALUE]
    script.spend(0, len(text))
    return text


def _dollar(script: Script, raw: str, at: int, depth: int) -> tuple[str, int]:
    """The expansion that begins at `at` (a $ or a backtick), and the position after it."""
    following = raw[at + 1 : at + 2]
    if raw[at] == "`" or following in ("(", "{"):
        end = closing(raw, at if raw[at] == "`" else at + 1) or len(raw)
        body = raw[at + 2 : end - 1]
        if raw.startswith("$((", at) and depth < 8:
            return _arithmetic(script, body[1:-1], depth) or raw[at:end], end
        if following == "{" and depth < 8:
            return _parameter(script, body, depth) or raw[at:end], end
        return raw[at:end], end
    match = _NAME.match(raw, at + 1)
    if not match:
        return "$", at + 1
    return _joined(script.variables.get(match[0])) or match.string[at : match.end()], match.end()


def _joined(items: list[Argument] | None) -> str:
    return "" if items is None else " ".join(item.text for item in items)[:MAX_VALUE]


def _parameter(script: Script, body: str, depth: int) -> str | None:
    """${NAME}, ${NAME[@]}, ${NAME:-default}; None if unknown."""
    match = _PARAMETER.fullmatch(body)
    if not match:
        return None
    name, index, kind, default = match.groups()
    items = script.variables.get(name)
    if items is not None:
        return _joined(items[int(index) :][:1] if index and index.isdigit() else items)
    return _substitute(script, default, depth + 1) if kind else None


def _arithmetic(script: Script, body: str, depth: int) -> str | None:
    """The value of $(( body )): + - * / % of integers and variables; None if it is anything else."""
    text = _substitute(script, body, depth + 1).strip()
    if len(text) > MAX_ARITHMETIC or _NOT_ARITHMETIC.search(text):
        return None
    try:
        value = _evaluate(script, ast.parse(text, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None
    return str(value)


def _evaluate(script: Script, node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, ast.Name):
        return int(_joined(script.variables.get(node.id)))
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        value = _ARITHMETIC[type(node.op)](_evaluate(script, node.left), _evaluate(script, node.right))
        if abs(value) < 2**63:
            return value
    raise ValueError("not arithmetic of integers")


def _decide(script: Script, condition: list[Command]) -> bool | None:
    """Whether the tests joined by && and || hold; None where the shell would have to be asked."""
    result: bool | None = True
    for command in condition:
        one = _test(script, command.words)
        if command.joint == "||":
            result = True if result or one else None if result is None or one is None else False
        else:
            result = False if result is False or one is False else None if result is None or one is None else True
    return result


def _test(script: Script, words: Sequence[Word]) -> bool | None:
    """`[[ left == right ]]`, `[ -z word ]`, with every word known."""
    texts = [word.text for word in words]
    if len(texts) < 4 or texts[0] not in ("[", "[[") or texts[-1] not in ("]", "]]"):
        return None
    values = [_substitute(script, text) for text in texts[1:-1]]
    if any(is_unknown(value) for value in values):
        return None
    if len(values) == 2 and values[0] in ("-z", "-n"):
        return (values[1] == "") == (values[0] == "-z")
    if len(values) != 3 or values[1] not in _TESTS:
        return None
    left, sign, right = values
    if not sign.startswith("-"):
        return _TESTS[sign](left, right)
    return _TESTS[sign](int(left), int(right)) if re.fullmatch(r"-?\d{1,18}", left) and re.fullmatch(r"-?\d{1,18}", right) else None
