"""Figures as inline SVG and HTML; colours come from the page's style sheet, so that they follow its colour scheme."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from csmoe_sampler.report.maps import Frame
from csmoe_sampler.report.markup import Markup, element, join
from csmoe_sampler.report.quantities import compact, number

_WIDTH, _HEIGHT = 480, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 54, 14, 14, 44


@dataclass(frozen=True)
class Series:
    """A line of a chart."""

    title: str
    style: str
    """A class of the style sheet: `first`, `second`."""
    x: tuple[float, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class _Axes:
    """Data coordinates to picture coordinates; x is logarithmic."""

    x_low: float
    x_high: float
    y_high: float

    def x(self, value: float) -> float:
        span = math.log(self.x_high / self.x_low) or 1.0
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(value / self.x_low) / span

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / self.y_high


def picture(images: dict[str, bytes], alt: str, frame: Frame) -> Markup:
    """A map that follows the colour scheme, over its graticule."""
    light, dark = (f"data:image/png;base64,{base64.b64encode(images[s]).decode()}" for s in ("light", "dark"))
    image = element("img", src=light, alt=alt, width=frame.width, height=frame.height)
    source = element("source", media="(prefers-color-scheme: dark)", srcset=dark)
    ratio = f"--ratio:{frame.width / frame.height:.3f}"
    return element("div", _graticule(frame), element("picture", source, image), class_="map", style=ratio)


def _graticule(frame: Frame) -> Markup:
    """The outline of the globe and its meridians and parallels; nothing on the map of a region."""
    if not frame.projection.is_global:
        return Markup("")
    latitudes = np.linspace(-90.0, 90.0, 61)
    meridians = [_path(frame, np.full(61, lon), latitudes) for lon in range(-150, 180, 30)]
    parallels = [_path(frame, np.array([-180.0, 180.0]), np.full(2, float(lat))) for lat in (-60, -30, 0, 30, 60)]
    around = np.concatenate([np.full(61, -180.0), np.full(61, 180.0)])
    outline = _path(frame, around, np.concatenate([latitudes, latitudes[::-1]])) + "Z"
    return element(
        "svg",
        element("path", d=outline, class_="sea"),
        element("path", d="".join([*meridians, *parallels]), class_="graticule"),
        viewBox=f"0 0 {frame.width} {frame.height}",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _path(frame: Frame, lon: np.ndarray, lat: np.ndarray) -> str:
    turned = np.radians(lon - frame.projection.centre_lon)
    column, row = frame.place(*frame.projection.forward_turned(turned, np.radians(lat)))
    return "M" + "L".join(f"{c:.1f} {r:.1f}" for c, r in zip(column, row, strict=True))


def line_chart(series: Sequence[Series], *, x_title: str, y_title: str, alt: str) -> Markup:
    """Lines over a logarithmic x axis of counts; y starts at 0."""
    xs = [value for line in series for value in line.x]
    ys = [value for line in series for value in line.y if math.isfinite(value)]
    axes = _Axes(min(xs), max(xs), 1.08 * max([*ys, 1e-12]))
    lines = [_line(axes, line) for line in series]
    labels = _spread_ticks(axes, sorted(set(xs)))
    return _chart(axes, [*lines], labels, compact, (x_title, y_title), alt)


def histogram(edges: Sequence[float], counts: Sequence[int], *, x_title: str, y_title: str, alt: str) -> Markup:
    """Bars between logarithmic edges."""
    axes = _Axes(edges[0], edges[-1], 1.08 * max([*counts, 1]))
    bars = [
        element(
            "rect",
            element("title", f"{number(low)} to {number(high)}: {compact(value)}"),
            x=round(axes.x(low) + 0.75, 1),
            y=round(axes.y(value), 1),
            width=round(max(axes.x(high) - axes.x(low) - 1.5, 0.5), 1),
            height=round(axes.y(0) - axes.y(value), 1),
            class_="bar",
        )
        for low, high, value in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return _chart(axes, bars, _spread_ticks(axes, list(edges)), number, (x_title, y_title), alt)


def _line(axes: _Axes, line: Series) -> Markup:
    places = [(axes.x(x), axes.y(y), x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(y)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places)
    dots = [
        element(
            "circle",
            element("title", f"{line.title}, first {compact(n)}: {number(v)}"),
            cx=round(x, 1),
            cy=round(y, 1),
            r=3.5,
        )
        for x, y, n, v in places
    ]
    return element("g", element("polyline", points=points), *dots, class_=f"line {line.style}")


def _chart(
    axes: _Axes,
    marks: Sequence[Markup],
    x_ticks: Sequence[float],
    x_text: Callable[[float], str],
    titles: tuple[str, str],
    alt: str,
) -> Markup:
    ground = axes.y(0)
    grid: list[Markup] = []
    for value in _nice_ticks(axes.y_high):
        y = round(axes.y(value), 1)
        grid.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid"))
        grid.append(element("text", compact(value), x=_LEFT - 8, y=y + 4, text_anchor="end"))
    for value in x_ticks:
        x = round(axes.x(value), 1)
        grid.append(element("text", x_text(value), x=x, y=ground + 18, text_anchor="middle"))
    middle = round((_LEFT + _WIDTH - _RIGHT) / 2)
    names = (
        element("text", titles[0], x=middle, y=_HEIGHT - 6, text_anchor="middle", class_="axis"),
        element("text", titles[1], x=_LEFT - 46, y=_TOP - 2, class_="axis"),
    )
    return element(
        "svg",
        element("title", alt),
        *grid,
        *marks,
        *names,
        viewBox=f"0 -14 {_WIDTH} {_HEIGHT + 14}",
        role="img",
        class_="chart",
    )


def _nice_ticks(high: float) -> list[float]:
    """Three to six round values from 0 up to `high`."""
    rough = high / 4.0
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 2.5, 5, 10) if m * unit >= rough)
    return [i * step for i in range(int(high / step + 1e-9) + 1)]


def _spread_ticks(axes: _Axes, values: Sequence[float]) -> list[float]:
    """The last of `values` and those before it that leave room for their labels."""
    kept: list[float] = []
    for value in reversed(values):
        if not kept or axes.x(kept[-1]) - axes.x(value) >= 46:
            kept.append(value)
    return kept[::-1]


def legend(entries: Sequence[tuple[str, str]]) -> Markup:
    """A key: class of the style sheet and title of each mark."""
    items = [element("li", element("span", class_=f"key {style}"), title) for style, title in entries]
    return element("ul", *items, class_="legend")


def swatch(color: str) -> Markup:
    """A patch of a class's colour."""
    return element("span", class_="swatch", style=f"background:{color}", aria_hidden="true")


def color_scale(ramps: Mapping[str, tuple[str, ...]], ticks: Sequence[tuple[float, str]], title: str) -> Markup:
    """A colour scale for both schemes; ticks are positions, 0 to 1, and their texts."""
    style = ";".join(f"--{scheme}:linear-gradient(90deg,{','.join(ramp)})" for scheme, ramp in ramps.items())
    marks = [element("li", text, style=f"left:{100 * at:.1f}%") for at, text in ticks]
    return element(
        "div",
        element("p", title),
        element("span", class_="ramp", style=style, aria_hidden="true"),
        element("ol", *marks),
        class_="scale",
    )


def paired_bars(population: float, sample: float, weighted: float, top: float, color: str) -> Markup:
    """A grey bar (population), a coloured one (sample) and a tick (weighted sample), each a share of `top`."""
    widths = [f"{100 * value / top:.2f}%" for value in (population, sample, weighted)]
    return element(
        "div",
        element("span", class_="population", style=f"width:{widths[0]}"),
        element("span", class_="sample", style=f"width:{widths[1]};--class:{color}"),
        element("span", class_="tick", style=f"left:{widths[2]}"),
        class_="bars",
        aria_hidden="true",
    )


def paragraphs(texts: Sequence[str | Markup]) -> Markup:
    """Each text in a paragraph of its own."""
    return join(element("p", text) for text in texts)
