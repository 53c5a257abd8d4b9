"""The package's names come when they are first used."""

from __future__ import annotations

import pytest

import shapewright.decode as swd
from shapewright.errors import MissingError


@pytest.mark.parametrize("missing", ["torch", "transformers", "triton"])
def test_what_is_not_installed_is_named_with_its_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.delitem(vars(swd), "accelerate", raising=False)
    monkeypatch.setattr(swd, "import_module", absent)
    with pytest.raises(MissingError, match=rf"shapewright\.decode\.accelerate needs {missing}; pip install 'shapewright\[decode\]'"):
        swd.accelerate  # noqa: B018


def test_another_missing_module_is_no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'theirs'", name="theirs")

    monkeypatch.delitem(vars(swd), "decode", raising=False)
    monkeypatch.setattr(swd, "import_module", absent)
    with pytest.raises(ModuleNotFoundError, match="theirs"):
        swd.decode  # noqa: B018


def test_names() -> None:
    assert dir(swd) == ["DecodeWarning", "accelerate", "decode", "restore", "why_not"]
    with pytest.raises(AttributeError, match="has no attribute 'speed'"):
        swd.speed  # type: ignore[attr-defined]  # noqa: B018
