"""From a file of measured products to a profile: the user's own calibration of one GPU with one library.

    calibration = calibrate(Path("rows.jsonl"), "h200")        # fits; writes nothing
    path, previous = write_profile(calibration.document, calibration.path)

What the rows cover (alignment classes with at least `fit.MIN_ROWS` rows) is fitted to them; everything else keeps the constants of the
profile in force, marked as not measured where that is another GPU's. Rows are 16-bit products (`products.read_products`); (n, k) pairs are
kept out of the fit by the rule of `is_held_out`, and a class whose fit is worse on them than the profile in force keeps what it has.
Errors: too few rows, rows of another GPU, no folder to write to.
"""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..dtypes import load_dtype
from ..errors import InputError, MissingError, ShapewrightError, shown
from ..hardware.gpu import Gpu
from ..hardware.load import load_gpu
from ..hardware.profile import KernelMenu, profile_from_json
from ..predict.gemm import product_rates
from ..predict.profiles import default_library, load_profile, shipped_profile, user_folder, user_profile
from ..predict.scaling import scaled_menu
from ..version import __version__
from .fit import MIN_ROWS, fit_classes
from .gemm import is_held_out
from .products import (
    Products,
    Progress,
    classes_of,
    predicted,
    read_products,
    rows_of_gpu,
)
from .score import absolute_percent
from .scored import Array
from .table import Table, read_table

#: Bytes of an element of the products that a profile holds menus for.
ELEMENT_BYTES = 2
#: Digits kept of a fitted constant.
DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFit:
    """One alignment class: its rows, and its mean error on the held-out ones before and after; `after_percent` None: not fitted."""

    name: str
    num_rows: int
    num_held_out: int
    before_percent: float | None
    after_percent: float | None
    is_adopted: bool
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A fitted profile as JSON (`document`), where it belongs, and how it came about."""

    gpu: str
    library: str
    base: str
    """The profile that was in force, as a path or name."""
    path: Path | None
    """Where `load_profile` looks for it; None where the user has no folder."""
    classes: tuple[ClassFit, ...]
    num_rows: int
    num_failed: int
    left_out: Mapping[str, int]
    """Reason -> rows that were read but not used."""
    document: Mapping[str, Any]
    parts: tuple[ClassFit, ...] = ()
    """What else of the profile was fitted: memory-bound kernels, attention."""

    @property
    def is_better(self) -> bool:
        """Whether any class or part was adopted: else there is nothing to write."""
        return any(each.is_adopted for each in (*self.classes, *self.parts))

    @property
    def before_percent(self) -> float | None:
        """Mean held-out error of all products by the profile that was in force."""
        return _mean_percent(self.classes, [each.before_percent for each in self.classes])

    @property
    def after_percent(self) -> float | None:
        """The same by the profile as it is now, classes that were kept included."""
        return _mean_percent(self.classes, [each.after_percent if each.is_adopted else each.before_percent for each in self.classes])


def _mean_percent(classes: Sequence[ClassFit], errors: Sequence[float | None]) -> float | None:
    """Mean over held-out rows; None where no class has an error."""
    known = [(each.num_held_out, error) for each, error in zip(classes, errors, strict=True) if error is not None and each.num_held_out]
    total = sum(count for count, _ in known)
    return round(sum(count * error for count, error in known) / total, 2) if total else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a fit made of products: every class, and the menus that are taken with their errors."""

    classes: tuple[ClassFit, ...]
    menus: Mapping[str, KernelMenu]
    errors: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The profile in force: its JSON, where it came from, and whether it is this GPU's and library's own."""

    data: Mapping[str, Any]
    path: Path
    library: str
    is_own: bool


#: Products, their GPU, the profile in force and what to tell meanwhile -> menus; None where no class has enough rows.
Fit = Callable[[Products, Gpu, Base, Progress | None], Fitted | None]


def calibrate(path: Path, gpu: str | None, library: str | None = None, *, progress: Progress | None = None) -> Calibration:
    """Fit the products of a file; `gpu` may be left out where the file names it, `library` names a new profile or one that exists."""
    every = read_table(path)
    table, device = rows_of_gpu(every, gpu)
    left_out = {"of another GPU": len(every) - len(table)} if len(every) > len(table) else {}
    return calibrate_table(table, device, library, fit=refitted, left_out=left_out, progress=progress)


def calibrate_table(
    table: Table, device: Gpu, library: str | None, *, fit: Fit, left_out: Mapping[str, int], progress: Progress | None = None
) -> Calibration:  # fmt: skip
    """Fit the products of a table of `device`; `left_out` counts rows that are not in it."""
    name = _library(device, library)
    base = base_profile(device, name)
    try:
        products, unused = _usable(read_products(table, device), device, base)
    except ShapewrightError as error:
        raise error.at(table.name) from None
    _require_rows(products, device, table.name)
    fitted = fit(products, device, base, progress)
    if fitted is None:
        raise _too_few(products, device, table.name)
    left_out = {**unused, **left_out}
    adopted = {each.name for each in fitted.classes if each.is_adopted}
    document = _document(base, device, name, fitted.menus, fitted.errors)
    document |= {"fitted_dtypes": _dtypes(base, products, adopted), "calibration": _origin(table, products, left_out)}
    document["sources"] = [_source(document["calibration"]), *(base.data["sources"] if base.is_own else [])]
    profile_from_json(document)
    return Calibration(
        gpu=device.name, library=name, base=str(base.path), path=user_profile(device, name), classes=fitted.classes,
        num_rows=len(products), num_failed=table.num_failed, left_out=left_out, document=document,
    )  # fmt: skip


def refitted(products: Products, gpu: Gpu, base: Base, progress: Progress | None) -> Fitted | None:
    """Every class with enough rows fitted anew, and taken where it is no worse than the profile in force; None: no class has."""
    menus, errors = fit_classes(products, product_rates(gpu, str(products.dtype[0])), progress=progress)
    if not menus:
        return None
    classes = _compared(products, gpu, errors, predicted(products, gpu, base.library or None).time_s)
    adopted = {each.name for each in classes if each.is_adopted}
    kept = {each: menu for each, menu in menus.items() if each in adopted}
    return Fitted(classes=classes, menus=kept, errors={each: errors[each] for each in kept})


def _library(gpu: Gpu, library: str | None) -> str:
    name = default_library(gpu) if library is None else library
    if name and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,40}", name):
        raise InputError(f"library is {shown(name)}", hint="expected letters, digits, dots and hyphens, such as cuda13")
    return name


def base_profile(gpu: Gpu, library: str) -> Base:
    """The user's profile of this library, else the one that ships; of a library that is new, those of the GPU's default."""
    known = library if library in gpu.libraries or _is_file(user_profile(gpu, library)) else default_library(gpu)
    own = user_profile(gpu, known)
    load_profile(gpu, known or None)  # says what is wrong with a broken one of the user's
    path = own if own is not None and _is_file(own) else shipped_profile(gpu, known)
    is_own = known == library and (path == own or path.stem == f"{gpu.name}.{library}")
    return Base(data=json.loads(path.read_text(encoding="utf-8")), path=path, library=known, is_own=is_own)


def _is_file(path: Path | None) -> bool:
    return path is not None and path.is_file()


def _usable(products: Products, gpu: Gpu, base: Base) -> tuple[Products, dict[str, int]]:
    """The 16-bit products that are no faster than the datasheet allows, and how many are left out why."""
    sizes = {name: load_dtype(name).size_bytes for name in np.unique(products.dtype).tolist()}
    is_half = np.array([sizes[name] == ELEMENT_BYTES for name in products.dtype.tolist()], bool)
    left_out = {"not bf16 or fp16": int((~is_half).sum())}
    products = products.take(is_half)
    if len(products):
        is_possible = products.time_s >= predicted(products, gpu, base.library or None).limit_s
        left_out["faster than the datasheet's roofline (operands in cache, or another unit of time)"] = int((~is_possible).sum())
        products = products.take(is_possible)
    return products, {reason: count for reason, count in left_out.items() if count}


def _require_rows(products: Products, gpu: Gpu, where: str) -> None:
    names, _ = classes_of(products, ELEMENT_BYTES, gpu.alignment_bytes) if len(products) else (np.array([], str), None)
    if not len(names) or np.unique(names, return_counts=True)[1].max() < MIN_ROWS:
        raise _too_few(products, gpu, where)


def _too_few(products: Products, gpu: Gpu, where: str) -> InputError:
    names, _ = classes_of(products, ELEMENT_BYTES, gpu.alignment_bytes) if len(products) else (np.array([], str), None)
    found = ", ".join(f"{name} {count}" for name, count in zip(*np.unique(names, return_counts=True), strict=True)) or "none"
    hint = f"at least {MIN_ROWS} bf16 or fp16 products of one alignment class are needed, of at least as many (n, k)"
    return InputError(f"too few usable rows ({found})", where=where, hint=hint)


def _compared(products: Products, gpu: Gpu, errors: Mapping[str, Mapping[str, Any]], before_s: Array) -> tuple[ClassFit, ...]:
    """Each class with its held-out error before and after."""
    names, _ = classes_of(products, ELEMENT_BYTES, gpu.alignment_bytes)
    held = is_held_out(products.n, products.k)
    fits = []
    for name in sorted(set(names.tolist())):
        inside = names == name
        out = inside & held
        before = round(float(absolute_percent(before_s[out], products.time_s[out]).mean()), 2) if out.any() else None
        after = errors[name]["mape_percent"] if name in errors else None
        is_adopted = after is not None and (before is None or after <= before)
        remark = "" if is_adopted else "too few rows, kept" if after is None else "fit no better, kept"
        fits.append(
            ClassFit(
                name=name, num_rows=int(inside.sum()), num_held_out=int(out.sum()), before_percent=before, after_percent=after,
                is_adopted=is_adopted, remark=remark,
            )
        )  # fmt: skip
    return tuple(fits)


def _document(base: Base, gpu: Gpu, library: str, menus: Mapping[str, KernelMenu], errors: Mapping[str, Any]) -> dict[str, Any]:
    """The profile's JSON: the fitted menus, and the rest of the profile in force."""
    data = dict(base.data) if base.is_own else _carried(_scaled(base.data, gpu), base.path.stem)
    data.pop("inherited_from", None)
    accuracy = {name: error for name, error in data.get("accuracy", {}).items() if base.is_own} | dict(errors)
    return data | {
        "gpu": gpu.name,
        "library": library,
        "provenance": "calibrated",
        "accuracy": accuracy,
        "menus": {**data["menus"], **{name: menu_document(menu) for name, menu in menus.items()}},
    }


def _scaled(data: Mapping[str, Any], gpu: Gpu) -> Mapping[str, Any]:
    """Another GPU's menus as they are predicted with here: by this GPU's clock and power."""
    if data["gpu"] == gpu.name:
        return data
    menus, reference = profile_from_json(data).menus, load_gpu(data["gpu"])
    return {**data, "menus": {name: menu_document(scaled_menu(menu, reference, gpu)) for name, menu in menus.items()}}


def _carried(data: Mapping[str, Any], origin: str) -> dict[str, Any]:
    """Another GPU's or library's profile: nothing in it counts as measured here, and its products have the widest intervals."""
    plain = _unmeasured(data)
    wide = data["spreads"]["datasheet"]
    for menu in plain["menus"].values():
        menu["origin"] = menu.get("origin") or origin
        menu["spreads"] = [[min(low, wide["low"]), max(high, wide["high"])] for low, high in menu.get("spreads", ())]
    return plain | {"notes": [*data.get("notes", ()), f"what was not fitted is carried over from {origin}"]}


def _unmeasured(value: Any) -> Any:
    """A copy in which every count of fitted rows is 0, every list of what was fitted empty, and every mark of a measurement off."""
    if isinstance(value, Mapping):
        return {key: _unmarked(key, each) for key, each in value.items()}
    return [_unmeasured(each) for each in value] if isinstance(value, list) else value


def _unmarked(key: str, value: Any) -> Any:
    if key == "num_rows":
        return 0
    if key == "fitted" and isinstance(value, list):
        return []
    is_mark = isinstance(value, bool) and key.startswith("is_") and key.endswith("measured")
    return False if is_mark else _unmeasured(value)


def menu_document(menu: KernelMenu) -> dict[str, Any]:
    """A menu as `hardware.profile` reads it."""
    data = {
        key: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for key, value in asdict(replace(menu, groups={})).items()
    }
    data["candidates"] = [[each.tile_m, each.tile_n, each.fill, round(each.efficiency, DIGITS)] for each in menu.candidates]
    data["groups"] = {name: round(value, DIGITS) for name, value in menu.groups.items()}
    data["spreads"] = [[each.low, each.high] for each in menu.spreads]
    return data


def _dtypes(base: Base, products: Products, adopted: set[str]) -> list[str]:
    """Dtypes that count as fitted: those of the rows, and those of classes of this GPU that were kept."""
    own = np.unique(products.dtype).tolist()
    is_kept = base.is_own and any(menu.get("num_rows") and name not in adopted for name, menu in base.data["menus"].items())
    return sorted({*own, *(base.data["fitted_dtypes"] if is_kept else [])})


def _origin(table: Table, products: Products, left_out: Mapping[str, int]) -> dict[str, Any]:
    """When and from what the profile was fitted, for whoever reads the file."""
    import scipy

    flops = products.flops
    sizes = {name: [int(getattr(products, name).min()), int(getattr(products, name).max())] for name in ("batch", "m", "n", "k")}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rows_file": Path(table.name).name,
        "rows_used": len(products),
        "rows_failed": table.num_failed,
        "rows_left_out": dict(left_out),
        "range": sizes | {"flops": [float(flops.min()), float(flops.max())]},
        "environment": json.loads(json.dumps(dict(table.environment)), parse_constant=str),  # NaN is no JSON to other readers
        "versions": {"shapewright": __version__, "numpy": np.__version__, "scipy": scipy.__version__},
    }


def _source(origin: Mapping[str, Any]) -> str:
    versions = ", ".join(
        f"{name} {origin['environment'][name]}" for name in ("torch", "cuda", "rocm", "driver") if name in origin["environment"]
    )
    return f"{origin['rows_used']} products of {origin['rows_file']}, fitted {origin['date']}" + (f" ({versions})" if versions else "")


def check_place(path: Path | None) -> None:
    """Refuse a place that `write_profile` cannot write to, before a fit takes its time; None is the user's folder of profiles."""
    if path is None and user_folder() is None:
        raise _no_folder()
    if path is None:
        return
    if path.exists() and not path.is_file():
        raise InputError("is not a regular file", where=str(path), hint="name another file with --out")
    if not path.parent.is_dir() and path.parent != user_folder():
        raise InputError("its folder does not exist", where=str(path), hint="create it first")


def _no_folder() -> MissingError:
    return MissingError("there is no folder for your profiles", hint="name a file with --out")


def write_profile(document: Mapping[str, Any], path: Path | None) -> tuple[Path, Path | None]:
    """Write a profile; what the place held before is kept beside it as PATH.1, PATH.2 and so on, and its new name returned."""
    if path is None:
        raise _no_folder()
    check_place(path)
    if path.parent == user_folder():
        path.parent.mkdir(parents=True, exist_ok=True)
    previous = _set_aside(path)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    draft.replace(path)
    return path, previous


def _set_aside(path: Path) -> Path | None:
    """A copy of the file under the first free number; None where there is nothing to keep."""
    if not path.exists() or not path.stat().st_size:
        return None
    number = 1
    while True:
        previous = path.with_name(f"{path.name}.{number}")
        try:
            with previous.open("xb") as copy:
                copy.write(path.read_bytes())
            return previous
        except FileExistsError:
            number += 1
