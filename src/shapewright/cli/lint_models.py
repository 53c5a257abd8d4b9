"""The models of a `lint` call: each argument read by itself, so that one that cannot be read stops no other, and its case on each GPU."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, ShapewrightError, shown
from ..lint.case import Case, within_positions
from ..lint.finding import Finding
from ..lint.rule import Rule
from ..lint.settings import Settings, rules_for
from ..operators.memory import memory_use
from ..predict.explain import machine_notes, runnable
from ..predict.operators import Machine
from ..read.hub_cache import find_cached_config
from ..read.located import read_stream, read_text
from ..read.resolve import load_text
from ..read.source import LoadedShape
from ..shape import ModelShape
from ..workload import Workload
from .arguments import STDIN
from .flags import WorkloadFlags
from .idle_flags import idle_choices, idle_flags
from .models_argument import load_model, load_source
from .notes import NO_FIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One model as the user named it; `texts` holds what stdin said, by the name that it goes by."""

    name: str | None
    loaded: LoadedShape
    texts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of every model: on which machines, under which workload, with which of its fields overridden."""

    machines: tuple[Machine, ...]
    flags: WorkloadFlags
    overrides: Mapping[str, Any]
    settings: Settings
    stdin_filename: str

    def cases(self, argument: Argument) -> tuple[tuple[Case, ...], tuple[str, ...]]:
        """The model's case on each machine, and notes of how it was read; an error names the model, or the setting at fault."""
        loaded, flags, said = argument.loaded, self._flags(argument.loaded), self._said(argument.loaded)
        # Settings describe the question that is asked of every model: nobody chose them for this one.
        is_node_given = self.settings.node is not None and self.settings.place("node") is None
        given = frozenset({*self.flags.given, *said, *(("node",) if is_node_given else ())})
        cases, notes = [], list(loaded.notes)
        for machine in self.machines:
            try:
                asked, remarks = flags.workload(machine.gpu, loaded.workload_with(flags.given))
                if {"sequence", "context"}.isdisjoint({*flags.given, *said}):
                    asked, remarks = _shortened(asked, loaded.shape, remarks)
                workload = runnable(loaded.shape, asked, machine.gpu)
            except ShapewrightError as error:
                is_set = error.field is not None and error.field not in self.flags.given
                where = self.settings.place(error.field or "") if is_set else None
                raise error.at(where or argument.name or loaded.shape.name) from None
            cases.append(Case(loaded=loaded, workload=workload, machine=machine, given=given))
            about_run = (note for note in machine_notes(loaded.shape, workload, machine) if not note.startswith(NO_FIT))
            notes += [*remarks, *self._idle(asked), *about_run]
        return tuple(cases), (*notes, *_fit_notes(cases))

    def _flags(self, loaded: LoadedShape) -> WorkloadFlags:
        """The workload's flags over the project's settings, which say nothing where the model's own file does."""
        said = self._said(loaded)
        return WorkloadFlags(**{name: value for name, value in self.settings.workload.items() if name not in said} | self.flags.given)

    def _said(self, loaded: LoadedShape) -> Mapping[str, object]:
        """The workload of the model's file, which says how a model is trained and nothing of how it is served."""
        phase = self.flags.phase or self.settings.workload.get("phase")
        return {} if phase in ("prefill", "decode") else loaded.workload

    def _idle(self, asked: Workload) -> tuple[str, ...]:
        """Notes of flags without effect; settings hold for many calls, and may well have none in one."""
        node = self.settings.node if self.settings.place("node") is None else None
        return (*idle_flags(asked, self.flags.given), *idle_choices(asked, self.flags.given, node=node, largest=None))


def _fit_notes(cases: Sequence[Case]) -> tuple[str, ...]:
    """One note of all GPUs whose memory the model exceeds."""
    needs = [(case.machine.gpu, memory_use(case.shape, case.workload).total) for case in cases]
    small = [(gpu, need) for gpu, need in needs if need > gpu.memory_bytes]
    if not small:
        return ()
    listed = ", ".join(f"{gpu.name} has {gpu.memory_bytes / 1e9:.0f} GB" for gpu, _ in small)
    return (f"{NO_FIT}: needs {max(need for _, need in small) / 1e9:.1f} GB a GPU, {listed}",)


def _shortened(asked: Workload, shape: ModelShape, remarks: tuple[str, ...]) -> tuple[Workload, tuple[str, ...]]:
    """The default sequence, cut to the model's positions, and a note of it."""
    short = within_positions(asked, shape)
    if short == asked:
        return asked, remarks
    field, value = ("context", short.context) if asked.phase == "decode" else ("sequence", short.sequence)
    return short, (*remarks, f"{field} {value}: the model has {shape.max_position_embeddings} positions (--{field} sets another)")


def check_arguments(names: Sequence[str], overrides: Mapping[str, Any], stdin_filename: str | None) -> None:
    """Refuse what cannot go together."""
    if names.count(STDIN) > 1:
        raise InputError("- is given twice", hint="stdin holds one configuration")
    if stdin_filename is not None and STDIN not in names:
        raise InputError("--stdin-filename is given without -", hint="give - to read a configuration from stdin")
    if overrides and len(names) > 1:
        flag = "--" + next(iter(overrides)).replace("_", "-")
        raise InputError(f"{flag} is given for {len(names)} models", hint="flags of the model take one model a call")


def read_model(name: str | None, question: Question) -> Argument:
    """The model of one argument; no name is a model of the overrides alone."""
    if name != STDIN:
        return Argument(name=name, loaded=load_model(_files(name), question.overrides), texts={})
    where = question.stdin_filename
    text = read_stream(sys.stdin.buffer, where=where)
    path = Path(where)
    called = path.parent.resolve().name if path.name == "config.json" else path.stem
    loaded = load_text(text, name=called or "model", where=where, given=question.overrides)
    return Argument(name=name, loaded=load_source(loaded, question.overrides), texts={where: text})


def rules_of(argument: Argument, settings: Settings) -> tuple[Rule, ...]:
    """The rules that look at a model: those asked for, less what the settings ignore in its file."""
    is_file = bool(argument.texts) or _is_there(argument.loaded.origin)
    return rules_for(settings, Path(argument.loaded.origin) if is_file else None)


def texts_of(findings: Iterable[Finding], argument: Argument) -> dict[str, str]:
    """The text of each file that findings point into; one that has gone since it was read is left out."""
    texts = dict(argument.texts)
    for file in {finding.file for finding in findings if finding.line is not None} - texts.keys():
        with suppress(ShapewrightError):
            texts[file] = read_text(find_cached_config(file) or file)
    return texts


def _files(name: str | None) -> tuple[str, ...]:
    """The files that one argument names: "a.yml+b.yml" is two that belong together, unless a file is called so."""
    if name is None:
        return ()
    parts = tuple(name.split("+"))
    if len(parts) == 1 or _is_there(name):
        return (name,)
    if not all(parts):
        raise InputError(f"{shown(name)} names no model", hint="a + stands between two files that belong together")
    return parts


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False
