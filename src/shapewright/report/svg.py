"""SVG as text: a few shapes, escaped and closed. Lengths in pixels; colours as CSS knows them."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape, quoteattr

#: Pixels from one line of a paragraph to the next, and of a blank at a line's beginning.
LINE, INDENT = 15, 2.5
FONT = "Helvetica, Arial, sans-serif"


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """One element; `stroke_width=2` becomes stroke-width="2". `content` is SVG already."""
    written = "".join(f" {key.rstrip('_').replace('_', '-')}={quoteattr(_text(value))}" for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def rect(x: float, y: float, width: float, height: float, /, *, hint: str = "", **attributes: object) -> str:
    """A rectangle; `hint` shows where a pointer rests on it."""
    title = element("title", escape(hint)) if hint else ""
    return element("rect", title, x=x, y=y, width=width, height=height, **attributes)


def line(x1: float, y1: float, x2: float, y2: float, /, **attributes: object) -> str:
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, **attributes)


def text(x: float, y: float, words: str, /, *, size: float = 11, **attributes: object) -> str:
    """One line of text, its baseline at y."""
    return element("text", escape(words), x=x, y=y, font_size=size, **attributes)


def paragraph(x: float, y: float, lines: Iterable[str], /) -> list[str]:
    """Lines of small grey text one below another; blanks at their beginning move them to the right."""
    return [
        text(x + INDENT * (len(words) - len(words.lstrip())), y + LINE * place, words.lstrip(), fill="#444444")
        for place, words in enumerate(lines)
    ]


def document(parts: Iterable[str], /, *, width: float, height: float) -> str:
    """A whole drawing on white."""
    ground = rect(0, 0, width, height, fill="white")
    size = {"width": _text(width), "height": _text(height), "viewBox": f"0 0 {_text(width)} {_text(height)}"}
    body = "\n".join((ground, *parts))
    return element("svg", f"\n{body}\n", xmlns="http://www.w3.org/2000/svg", font_family=FONT, **size) + "\n"


def _text(value: object) -> str:
    """Numbers to a hundredth of a pixel."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
