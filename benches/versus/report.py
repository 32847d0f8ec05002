"""Medians, ratios, verdicts, and the Markdown table of them."""

import statistics
from dataclasses import dataclass, field

from rows import Reading, Row

# Of all rows of collections together, besides each one's own target: by reading.
COMMANDS_MEDIAN = {"throughput": 1.3, "per CPU second": 2.2}


FAILED, NOT_SUPPORTED = "failed", "not supported"


@dataclass
class Cell:
    """The figures of one server for one reading, or why it has none."""

    figures: list[float] = field(default_factory=list)
    failure: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.figures) if self.figures and not self.failure else None

    def __str__(self) -> str:
        return number(self.median) if self.median is not None else self.failure or "–"


@dataclass
class Line:
    """One reading with the servers' cells, ours first."""

    row: Row
    reading: Reading
    cells: list[Cell]

    @property
    def ratio(self) -> float | None:
        """Ours / the best peer's."""
        ours, *peers = (cell.median for cell in self.cells)
        peers = [peer for peer in peers if peer is not None]
        if ours is None or not peers:
            return None
        best = max(peers) if self.reading.better == "higher" else min(peers)
        return ours / best if best > 0 else None

    @property
    def passed(self) -> bool | None:
        """None if there is no target or nothing to hold against it. What we do not support yet is not held."""
        if self.cells[0].failure == FAILED and self.reading.target is not None:
            return False
        figure = self.cells[0].median if self.reading.absolute else self.ratio
        return verdict(figure, self.reading.target, self.reading.better)

    def __str__(self) -> str:
        target = ""
        if self.reading.target is not None:
            sign = "≥" if self.reading.better == "higher" else "≤"
            target = f"{sign} {self.reading.target:g}" + ("" if self.reading.absolute else "x")
        ratio = "–" if self.ratio is None else f"{self.ratio:.2f}x"
        cells = (str(cell) for cell in self.cells)
        reading = f"{self.reading.name} ({self.reading.unit})"
        return markdown_row(self.row.name, reading, *cells, ratio, target, VERDICTS[self.passed])


VERDICTS = {True: "pass", False: "**FAIL**", None: ""}


def verdict(figure: float | None, target: float | None, better: str) -> bool | None:
    if figure is None or target is None:
        return None
    return figure >= target if better == "higher" else figure <= target


def table(names: list[str], lines: list[Line]) -> str:
    head = ["row", "reading", *names, f"{names[0]} / best peer", "target", "verdict"]
    rule = ["---", "---"] + ["---:"] * (len(names) + 2) + ["---"]
    rows = [markdown_row(*head), markdown_row(*rule), *map(str, lines)]
    for name, target in COMMANDS_MEDIAN.items():
        of_commands = (line for line in lines if line.row.name.startswith("cmd-") and line.reading.name == name)
        ratios = [line.ratio for line in of_commands if line.ratio is not None]
        if len(ratios) > 1:
            median = statistics.median(ratios)
            result = VERDICTS[verdict(median, target, "higher")]
            blank = [""] * len(names)
            rows.append(markdown_row("cmd-*", f"median of {name}", *blank, f"{median:.2f}x", f"≥ {target}x", result))
    return "\n".join(rows) + "\n"


def markdown_row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def number(figure: float) -> str:
    """Three significant digits at least, thousands separated."""
    if abs(figure) >= 100:
        return f"{figure:,.0f}"
    return f"{figure:.3g}"
