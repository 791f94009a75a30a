"""Print results/speed.json as one table beside the targets, and put it into README.md between two marks.

A target is "at least" and "aim": for the ratio of a row, or, for shares of the machine's rate and for memory, for our own figure.
Equal accuracy is part of a row, so a second table has the test errors that belong to the trainings: mean and standard deviation
over seeds, and whether the means differ by no more than the larger of the two deviations. What speed_profile.py and
fusionbook_baseline.py left in results/ follows below.

    python benchmarks/speed_table.py
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass

import pandas as pd
from speed_common import RESULTS

README = RESULTS.parents[1] / "README.md"


@dataclass(frozen=True)
class Target:
    """What a row should reach."""

    starts: str  # a row's name starts with this ...
    ends: str  # ... and ends with this
    field: str  # "ratio", or "ours"
    at_least: float
    aim: float

    def fits(self, name: str) -> bool:
        return name.startswith(self.starts) and name.endswith(self.ends)

    def met(self, one: dict) -> str:
        """Say "aim", "yes" (at least) or "no"; of megabytes fewer are better."""
        sign = -1 if one["unit"] == "MB" else 1
        reached = [sign * one[self.field] >= sign * wanted for wanted in (self.aim, self.at_least)]
        return "aim" if reached[0] else "yes" if reached[1] else "no"


TARGETS = (
    Target("training step, float32, batch 64", "", "ratio", 2, 3),
    Target("training step, share", "one thread", "ours", 60, 80),
    Target("training step, share", "two threads", "ours", 50, 70),
    Target("time to Chemprop's validation error", "wall", "ratio", 4, 8),
    Target("twelve encoders", "wall", "ratio", 6, 10),
    Target("embedding", "wall", "ratio", 5, 10),
    Target("featurisation", "", "ratio", 3, 6),
    Target("memory, embedding 1,000,000", "", "ours", 2000, 1000),
)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def wanted(one: dict) -> list[str]:
    """The cells "at least", "aim" and "met" of a row."""
    target = next((target for target in TARGETS if target.fits(one["name"])), None)
    if target is None:
        return ["", "", ""]
    unit = "" if target.field == "ratio" else f" {one['unit']}"
    return [f"{number(target.at_least)}{unit}", f"{number(target.aim)}{unit}", target.met(one)]


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def ratios(rows: list[dict]) -> str:
    cells = []
    for one in rows:
        low, high = one["spread"]
        spread = f"{low:.1f}-{high:.1f}" if one.get("repeats", 3) > 1 else "one run"
        values = [number(one["ours"]), number(one["peer"]), one["unit"], f"{one['ratio']:.1f}", spread]
        cells.append([one["name"], *values, *wanted(one)])
    return markdown(["row", "ours", "peer", "unit", "ratio", "spread", "at least", "aim", "met?"], cells)


def errors(rows: list[dict]) -> str:
    """Test errors of the trainings; rows that come from the same runs are listed once."""
    cells, seen = [], []
    for one in rows:
        for task, both in one.get("test RMSE", {}).items():
            if both in seen:
                continue
            seen.append(both)
            means = {name: statistics.mean(values) for name, values in both.items()}
            spreads = {name: statistics.stdev(values) for name, values in both.items() if len(values) > 1}
            shown = [
                f"{means[name]:.4g} ± {spreads.get(name, float('nan')):.2g}" for name in ("ours", "peer")
            ]
            gap = means["ours"] - means["peer"]
            within = abs(gap) <= max(spreads.values(), default=0)
            about = one["name"].removesuffix(", wall").removesuffix(", processor")
            cells.append(
                [about, task, *shown, "equal" if within else "ours lower" if gap < 0 else "ours higher"]
            )
    return markdown(["trainings of row", "property", "ours", "Chemprop", "within the spread?"], cells)


def accuracy(runs: pd.DataFrame) -> str:
    """RMSE of both programs on each data set: mean and standard deviation over seeds."""
    cells = []
    for (dataset, model), own in runs.groupby(["dataset", "model"]):
        each = ", ".join(f"{value:.3f}" for value in own.sort_values("seed")["rmse"])
        mean = f"{own['rmse'].mean():.3f} ± {own['rmse'].std():.3f}"
        cells.append([dataset, model, str(len(own)), mean, each, f"{own['wall_seconds'].median():.0f}"])
    return markdown(["data set", "model", "seeds", "test RMSE", "each", "seconds a run"], cells)


def block(rows: list[dict]) -> str:
    """A table of ratios for each machine, and the test errors that belong to the ratios, as Markdown."""
    parts = []
    for machine in dict.fromkeys(one["machine"].split(", load")[0] for one in rows):
        own = [one for one in rows if one["machine"].startswith(machine)]
        loads = [float(one["machine"].partition("load average ")[2].split()[0]) for one in own]
        parts += [f"{machine}; load averages {min(loads)} to {max(loads)} when a script began.", ratios(own)]
    tests = "RMSE on test molecules, mean ± standard deviation over seeds, in the units of QM9's table:"
    return "\n\n".join([*parts, tests, errors(rows)])


def replaced(text: str, name: str, content: str) -> str:
    """Put content between the two marks of this name."""
    begin, end = f"<!-- begin: {name} -->", f"<!-- end: {name} -->"
    before, _, rest = text.partition(begin)
    return f"{before}{begin}\n{content}\n{end}{rest.partition(end)[2]}"


def readme(text: str) -> str:
    """The README with everything that is measured brought up to date."""
    text = replaced(text, "speed.json", block(json.loads(RESULTS.read_text())))
    if (profile := RESULTS.with_name("profile.md")).exists():
        text = replaced(text, "profile.md", profile.read_text().strip())
    if (runs := RESULTS.with_name("moleculenet.csv")).exists():
        text = replaced(text, "moleculenet.csv", accuracy(pd.read_csv(runs)))
    return text


def main() -> None:
    print(block(json.loads(RESULTS.read_text())))
    README.write_text(readme(README.read_text()))


if __name__ == "__main__":
    main()
