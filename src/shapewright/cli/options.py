"""Flags that several commands share and that belong to no model or workload."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from .arguments import integer, number, positive_number

Count = Annotated[int, Parameter(converter=integer)]
Number = Annotated[float, Parameter(converter=number)]
PositiveNumber = Annotated[float, Parameter(converter=positive_number)]
Json = Annotated[bool, Parameter(name="--json", negative="", help="Print one JSON document instead of text.")]
GpuName = Annotated[str, Parameter(name="--gpu", help="A GPU of `shapewright gpus`, or a TOML file of the same form.")]
NodeName = Annotated[str | None, Parameter(name="--node", help="The node around the GPU (its links); a name or a TOML file.")]
LibraryName = Annotated[str | None, Parameter(name="--library", help="A library profile of the GPU; default: the GPU's own.")]
