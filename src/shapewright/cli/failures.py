"""Usage errors of cyclopts as one-line errors of ours: what, where, what now."""

from __future__ import annotations

from typing import get_args

from cyclopts import CoercionError, CycloptsError, MissingArgumentError, RepeatArgumentError, UnknownOptionError, UnusedCliTokensError
from cyclopts.exceptions import UnknownCommandError

from ..errors import InputError, ShapewrightError, shown, unknown_name


def usage_error(error: CycloptsError) -> ShapewrightError:
    """The same failure in our form; an error that a converter of ours raised comes out as it went in."""
    match error:
        case CycloptsError(__cause__=ShapewrightError() as cause):
            return cause
        case UnknownOptionError():
            return _unknown_flag(error)
        case UnknownCommandError():
            return _unknown_command(error)
        case MissingArgumentError():
            return _missing(error)
        case CoercionError(token=token) if token is not None and get_args(error.target_type):
            return unknown_name(_flag_label(token.keyword), token.value, map(str, get_args(error.target_type)))
        case CoercionError(token=token, target_type=kind) if token is not None and kind is bool:
            return InputError(f"{token.keyword} is {shown(token.value)}", hint="expected true or false")
        case RepeatArgumentError():
            return InputError(f"{error.token.keyword} is given twice", hint="give it once")
        case UnusedCliTokensError():
            return InputError(f"unexpected argument {shown((error.unused_tokens or [''])[0])}", hint=_help_hint(error))
        case _:
            return InputError(" ".join(str(error).split()), hint=_help_hint(error))


def _unknown_flag(error: UnknownOptionError) -> InputError:
    flag = (error.token.keyword or error.token.value).partition("=")[0]
    names = {name for argument in error.argument_collection if argument.parse for name in argument.names}
    wrong = unknown_name("flag", flag, [name for name in names if name.startswith("--")])
    return InputError(wrong.what, hint=wrong.hint if "did you mean" in (wrong.hint or "") else _help_hint(error))


def _unknown_command(error: UnknownCommandError) -> InputError:
    assert error.unused_tokens and error.app is not None
    if error.unused_tokens[0].startswith("-"):
        return InputError(f"unknown flag {shown(error.unused_tokens[0])}", hint=_help_hint(error))
    known = [name for name in error.app if not name.startswith("-")]
    return unknown_name("command", error.unused_tokens[0], known)


def _missing(error: MissingArgumentError) -> InputError:
    assert error.argument is not None
    is_given = bool(error.argument.tokens) or error.keyword is not None
    name = error.keyword or error.argument.name
    return InputError(f"{name} needs a value" if is_given else f"{name} is missing", hint=_help_hint(error))


def _flag_label(keyword: str | None) -> str:
    return f"{keyword} value" if keyword else "value"


def _help_hint(error: CycloptsError) -> str:
    return f"see `{' '.join(['shapewright', *(error.command_chain or ())])} --help`"
