"""`Settings`: what a project always says to the linter, from its `shapewright.toml` or the `[tool.shapewright]` of its `pyproject.toml`.

    settings = find_settings(Path.cwd())            # the nearest folder upwards that has one; explicit=PATH names the file
    rules_for(settings, Path("old/config.json"))    # select and ignore, less what per-file-ignores say of that file
    settings.place("gpu")                           # "pyproject.toml:12", for an error found later: error.at(settings.place("gpu"))
    replace(settings, select=("SW1",))              # a flag in place of a setting

In the first folder that has either, `shapewright.toml` (keys at its top) goes before `pyproject.toml`; a pyproject without our table is
passed over. Paths of GPU and node files, and the globs of `per-file-ignores`, are relative to the file's folder. Shares are of a step.

Errors: `InputError` in one line, with the file and where possible the line: a file that cannot be read, broken TOML, unknown keys and
codes (with the nearest known one), values of the wrong type.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import InputError, ShapewrightError, shown, unknown_name
from ..workload import Workload
from .glob import matches, pattern_fault
from .rule import Rule, matching_rules, select_rules
from .toml_file import TomlFile, read_toml, written

OUTPUT_FORMATS = ("full", "concise", "json", "github", "sarif")
FILE_NAMES = ("shapewright.toml", "pyproject.toml")
TABLE = ("tool", "shapewright")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """A project's settings; None, or nothing in a list: not said. `folder` is that of the file, None where there is no file.

    `workload` holds the `Workload` fields that are said. `fail_over` is a share of the step's time.
    """

    folder: Path | None = None
    gpu: tuple[str, ...] = ()
    node: str | None = None
    library: str | None = None
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = ()
    fail_over: float | None = None
    output_format: str | None = None
    exit_zero: bool = False
    for_new_model: bool = False
    workload: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    places: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)

    def place(self, name: str) -> str | None:
        """Where a setting, or a field of the workload, is said; None where it is not."""
        return self.places.get(name)


_KEYS = tuple(each.name.replace("_", "-") for each in fields(Settings) if each.name not in ("folder", "places"))
_WORKLOAD_FIELDS = tuple(each.name for each in fields(Workload))


def find_settings(start: Path, explicit: Path | None = None) -> Settings:
    """The settings that hold in the folder `start`, or those of the `explicit` file; without any file, `Settings()`."""
    if explicit is not None:
        file = read_toml(explicit)
        table = _table(file)
        if table is None:
            raise InputError("no table [tool.shapewright]", where=file.where, hint="add it, or name another file")
        return _settings(file, table)
    folder = start.absolute()
    for path in (each / name for each in (folder, *folder.parents) for name in FILE_NAMES):
        if os.path.isfile(path):  # noqa: PTH113 - False, where `Path.is_file` raises, for a folder that may not be entered
            file = read_toml(path)
            table = _table(file)
            if table is not None:
                return _settings(file, table)
    return Settings()


def rules_for(settings: Settings, path: Path | None) -> tuple[Rule, ...]:
    """The rules for the model in the file `path`, which may be none; those of every file for None, which are refused if there are none."""
    try:
        chosen = select_rules(settings.select, settings.ignore)
    except InputError as error:
        where = settings.place("ignore")
        raise (error.at(where) if where else error) from None
    folder = settings.folder or Path.cwd()
    named = [codes for glob, codes in settings.per_file_ignores if path is not None and matches(glob, path, folder)]
    left_out = {rule for codes in named for code in codes for rule in matching_rules(code)}
    return tuple(rule for rule in chosen if rule not in left_out)


def share(value: object) -> float:
    """A share of the step: "2%" or 0.02, from 0 to 1. A bare "2" is refused, as it could mean either; so are NaN and true."""
    text = value.strip() if isinstance(value, str) else ""
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1) if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not 0 <= number <= 1 or (number == 1 and not text.endswith("%")):
        raise InputError(f"{shown(value)} is no share of a step", hint='expected "2%" or 0.02')
    return number


def _table(file: TomlFile) -> Mapping[str, Any] | None:
    """Our table of a file; None for a pyproject.toml of others."""
    if Path(file.path).name != "pyproject.toml":
        return file.values
    tool = file.values.get("tool")
    table = tool.get("shapewright") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise InputError(f"tool.shapewright is {written(table)}", where=file.place(TABLE), hint="expected a table [tool.shapewright]")
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """Typed access to the keys of our `table`, which stands at `path` of the file."""

    file: TomlFile
    table: Mapping[str, Any]
    path: tuple[str, ...]

    def place(self, *keys: str) -> str:
        return self.file.place((*self.path, *keys))

    def refuse(self, key: str, expected: str) -> InputError:
        return InputError(f"{key} is {written(self.table[key])}", where=self.place(key), hint=f"expected {expected}")

    def text(self, key: str) -> str | None:
        value = self.table.get(key)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise self.refuse(key, "a name in quotes")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A text, or a list of some."""
        value = self.table.get(key, ())
        listed = (value,) if isinstance(value, str) else value
        if not isinstance(listed, list | tuple) or (key in self.table and not listed) or not all(_is_text(each) for each in listed):
            raise self.refuse(key, "a name in quotes or a list of some")
        return tuple(listed)

    def codes(self, key: str) -> tuple[str, ...]:
        """Codes of rules, all of them known."""
        return self.known(self.texts(key), key)

    def known(self, codes: tuple[str, ...], *keys: str) -> tuple[str, ...]:
        try:
            for code in codes:
                matching_rules(code)
        except InputError as error:
            raise error.at(self.place(*keys)) from None
        return codes

    def flag(self, key: str) -> bool:
        value = self.table.get(key, False)
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def fact_file(self, name: str) -> str:
        """A GPU or node: a known name, or the path of its file from the settings' own folder."""
        is_path = "/" in name or os.sep in name or name.lower().endswith(".toml")
        return str(self.file.path.parent / name) if is_path else name


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _settings(file: TomlFile, table: Mapping[str, Any]) -> Settings:
    reader = _Reader(file=file, table=table, path=TABLE if file.path.name == "pyproject.toml" else ())
    for key in table:
        if key == TABLE[0] and not reader.path:
            raise InputError("unknown key 'tool'", where=reader.place(*TABLE), hint=f"a {FILE_NAMES[0]} holds its keys at the top")
        if key not in _KEYS:
            raise unknown_name("key", key, _KEYS, where=reader.place(key))
    node, workload = reader.text("node"), _workload(reader)
    return Settings(
        folder=file.path.parent, gpu=tuple(map(reader.fact_file, reader.texts("gpu"))), node=reader.fact_file(node) if node else None,
        library=reader.text("library"), select=reader.codes("select"), ignore=_ignored(reader), per_file_ignores=_per_file_ignores(reader),
        fail_over=_fail_over(reader), output_format=_output_format(reader), exit_zero=reader.flag("exit-zero"),
        for_new_model=reader.flag("for-new-model"), workload=MappingProxyType(workload), places=MappingProxyType(_places(reader)),
    )  # fmt: skip


def _ignored(reader: _Reader) -> tuple[str, ...]:
    """Codes to leave out; an empty list says what leaving the key out says."""
    return () if reader.table.get("ignore") == [] else reader.codes("ignore")


def _per_file_ignores(reader: _Reader) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Globs and the codes that files of that name leave out."""
    key = "per-file-ignores"
    table = reader.table.get(key, {})
    if not isinstance(table, dict):
        raise reader.refuse(key, 'a table such as {"old/*.json" = ["SW101"]}')
    inner = _Reader(file=reader.file, table=table, path=(*reader.path, key))
    for glob, codes in table.items():
        if not _is_text(codes) and not (isinstance(codes, list) and all(map(_is_text, codes))):
            what = f"{key} of {shown(glob)} is {written(codes)}"
            raise InputError(what, where=inner.place(glob), hint="expected a code such as SW101 or a list of some")
        if fault := pattern_fault(glob):
            what = f"{key} has {shown(glob)}, which is no pattern of files ({fault})"
            raise InputError(what, where=inner.place(glob), hint="expected one such as old/*.json")
    return tuple((glob, inner.codes(glob)) for glob, codes in table.items() if codes)


def _fail_over(reader: _Reader) -> float | None:
    value = reader.table.get("fail-over")
    try:
        return None if value is None else share(value)
    except InputError:
        raise reader.refuse("fail-over", 'a share of the step such as "2%" or 0.02') from None


def _output_format(reader: _Reader) -> str | None:
    value = reader.text("output-format")
    if value is not None and value not in OUTPUT_FORMATS:
        raise unknown_name("output-format", value, OUTPUT_FORMATS, where=reader.place("output-format"))
    return value


def _workload(reader: _Reader) -> dict[str, Any]:
    """Fields of `Workload`, each checked by itself: flags and a model's own file may yet change the others."""
    table = reader.table.get("workload", {})
    if not isinstance(table, dict):
        raise reader.refuse("workload", 'a table such as {phase = "train", micro-batch = 4}')
    values: dict[str, Any] = {}
    for key, value in table.items():
        name, where = key.replace("-", "_"), reader.place("workload", key)
        if name not in _WORKLOAD_FIELDS:
            raise unknown_name("workload key", key, [known.replace("_", "-") for known in _WORKLOAD_FIELDS], where=where)
        if name in values:
            raise InputError(f"{name} is given twice, with dashes and with underscores", where=where, hint="keep one of them")
        values[name] = value
        _check_field(name, value, where)
    return values


def _check_field(name: str, value: Any, where: str) -> None:
    """Refuse a value that no workload has."""
    companions = {"global_batch": {"micro_batch": 1}, "expert_parallel": {"data_parallel": value}}
    try:
        Workload(**{**companions.get(name, {}), name: value})
    except ShapewrightError as error:
        # A companion is refused for the field's own value.
        what = error.what.replace(error.field or name, name).replace(shown(value), written(value))
        raise InputError(what, where=where, hint=error.hint, field=name) from None


def _places(reader: _Reader) -> dict[str, str]:
    """Where each setting and each field of the workload is said, by its name in Python."""
    inner: Sequence[str] = list(reader.table.get("workload", {}))
    own = {key.replace("-", "_"): reader.place(key) for key in reader.table}
    return own | {key.replace("-", "_"): reader.place("workload", key) for key in inner}
