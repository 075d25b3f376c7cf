"""The figures as a table, and as docs/evidence/performance.md with its charts."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from benchmarks.bench_backend import Claim
    from benchmarks.bench_values import Figure as Value

PAGE = Path(__file__).resolve().parents[1] / "docs" / "evidence" / "performance.md"
VALUES_PAGE = PAGE.with_name("performance-by-value.md")
BEGIN, END = "<!-- benchmarks begin -->", "<!-- benchmarks end -->"
VALUES_BEGIN, VALUES_END = "<!-- values begin -->", "<!-- values end -->"


def row(claim: Claim) -> tuple[str, ...]:
    """A claim as cells."""
    digits = 2 if min(claim.ours, claim.theirs) < 10 else 0
    return (
        claim.name,
        claim.peer,
        f"{claim.ours:,.{digits}f} {claim.unit}",
        f"{claim.theirs:,.{digits}f} {claim.unit}",
        f"{claim.ratio:.2f}",
        f"{claim.low:.2f} to {claim.high:.2f}",
        f"{claim.target:.2f}",
        "yes" if claim.holds else "no",
    )


HEADER = ("claim", "peer", "ours", "peer's", "ratio", "spread", "target, at most", "reached")


def show(claims: Sequence[Claim]) -> None:
    """One table for people."""
    table = Table(title=machine())
    for name in HEADER:
        table.add_column(name, overflow="fold")
    for claim in claims:
        table.add_row(*row(claim), style="" if claim.holds else "red")
    Console(width=150).print(table)


def machine() -> str:
    """What it was measured on."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    model = re.search(r"model name\s*: (.*)", text)
    cores = text.count("processor\t")
    day = dt.datetime.now(dt.timezone.utc).date()
    return (
        f"{day}, {cores} cores of {model[1] if model else platform.machine()}, Python {platform.python_version()}"
    )


def write(claims: Sequence[Claim], charts: Mapping[str, str]) -> None:
    """Put the table between the page's marks, and the charts: name of the file => what it shows."""
    lines = [BEGIN, "", f"Measured on {machine()}.", ""]
    lines += ["| " + " | ".join(HEADER) + " |", "|" + "---|" * len(HEADER)]
    lines += ["| " + " | ".join(row(claim)) + " |" for claim in claims]
    lines += ["", *(f"![{shows}](performance/{name}.svg)\n" for name, shows in charts.items()), "", END]
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + "\n".join(lines) + rest.partition(END)[2])


def write_values(figures: Sequence[Value]) -> None:
    """Put the ratios by kind and size between the page's marks, a table for each place and way."""
    load = f"a load of {os.getloadavg()[1]:.0f}"
    lines = [
        VALUES_BEGIN,
        "",
        f"Measured on {machine()}, with {load}. Ratios to object storage; **bold** is over the target.",
    ]
    sizes = sorted({figure.size for figure in figures})
    found = {(figure.place, figure.way, figure.kind, figure.size): figure for figure in figures}
    for place in dict.fromkeys(figure.place for figure in figures):
        header = [f"{place}, {way} of {_size(size)}" for way in ("push", "pull") for size in sizes]
        lines += ["", "|kind|" + "|".join(header) + "|", "|" + "---|" * (len(header) + 1)]
        for kind in dict.fromkeys(figure.kind for figure in figures):
            cells = [_ratio(found[place, way, kind, size]) for way in ("push", "pull") for size in sizes]
            lines.append(f"|{kind}|" + "|".join(cells) + "|")
    before, _, rest = VALUES_PAGE.read_text().partition(VALUES_BEGIN)
    VALUES_PAGE.write_text(before + "\n".join([*lines, "", VALUES_END]) + rest.partition(VALUES_END)[2])


def _ratio(figure: Value) -> str:
    text = f"{figure.ratio:.2f}"
    return text if figure.ratio <= figure.target else f"**{text}**"


def _size(size: int) -> str:
    return f"{size // 1_000_000} MB" if size >= 1_000_000 else f"{size // 1_000} KB"


def chart(name: str, title: str, label: str, sizes: Sequence[float], lines: Mapping[str, Sequence[float]]) -> None:
    """Seconds over sizes, both in powers of ten, as docs/evidence/performance/NAME.svg."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2))
    for line, seconds in lines.items():
        axes.plot(sizes[: len(seconds)], seconds, marker="o", label=line)
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="seconds", title=title)
    axes.grid(visible=True, which="major", alpha=0.3)
    axes.legend()
    _save(figure, name)


def flame(name: str, title: str, stacks: Mapping[tuple[str, ...], int]) -> None:
    """Sampled stacks, outermost call first, as docs/evidence/performance/NAME.svg: calls hang below callers."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = name
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    whole = sum(stacks.values())
    figure, axes = plt.subplots(figsize=(13, 5.5))
    deepest = 0

    def draw(part: Mapping[tuple[str, ...], int], left: float, depth: int) -> None:
        nonlocal deepest
        for call in sorted({stack[0] for stack in part if stack}):
            below = Counter({stack[1:]: count for stack, count in part.items() if stack and stack[0] == call})
            width = 100 * sum(below.values()) / whole
            if width < _NARROWEST:
                continue
            deepest = max(deepest, depth)
            color = plt.get_cmap("YlOrRd")(0.15 + zlib.crc32(call.encode()) % 40 / 100)
            axes.add_patch(Rectangle((left, depth), width, 0.94, facecolor=color, edgecolor="white"))
            room = int(width * 1.75)
            label = f"{call.partition(' ')[0]} {width:.0f} %"
            written = label[:room] if room > _SHORTEST else ""
            axes.text(left + 0.15, depth + 0.66, written, fontsize=6.5, color=_ON_BARS)
            draw(below, left, depth + 1)
            left += width

    draw(stacks, 0, 0)
    axes.set(xlim=(0, 100), ylim=(deepest + 1, 0), yticks=[], xlabel="% of the time", title=title)
    _save(figure, name)


# What is narrower than this (in %) is not drawn, and where fewer characters have room, no name is written.
_NARROWEST, _SHORTEST = 0.4, 3

# Bars are bright in both color schemes, so their names stay dark.
_ON_BARS = "#111111"

# The site's toggle sets `color-scheme`, which browsers pass on to pictures as `prefers-color-scheme`.
_DARK = """
   @media (prefers-color-scheme: dark) {
    svg { fill: #e5e7eb }
    [style*="fill: #ffffff"] { fill: #1b2027 !important }
    [style*="stroke: #ffffff"] { stroke: #1b2027 !important }
    [style*="stroke: #000000"] { stroke: #e5e7eb !important }
    [style*="stroke: #1f77b4"] { stroke: #6db3f2 !important }
    [style*="fill: #1f77b4"] { fill: #6db3f2 !important }
   }
  </style>"""


def _save(figure: Figure, name: str) -> None:
    import matplotlib.pyplot as plt

    folder = PAGE.with_suffix("")
    folder.mkdir(exist_ok=True)
    picture = folder / f"{name}.svg"
    figure.savefig(picture, bbox_inches="tight", metadata={"Date": None})
    picture.write_text(picture.read_text("utf-8").replace("</style>", _DARK, 1), "utf-8")
    plt.close(figure)
