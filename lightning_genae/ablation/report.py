"""The report of an ablation: one self-contained page of HTML, and its tables as Markdown, CSV and LaTeX."""

import base64
from pathlib import Path

import jinja2

from lightning_genae.ablation import pictures, tables
from lightning_genae.ablation.escape import code
from lightning_genae.ablation.records import LOOKS, Comparison, Record, compare
from lightning_genae.ablation.tables import Table
from lightning_genae.evaluation.metrics import known_values

MAX_PICTURED = 12  # contexts
FILES = ("report.html", "tables.md", "tables.csv", "tables.tex")


class Report:
    """Runs compared.

    Args:
        records: of the runs.
        commands: that made them.
        metric: that arms are compared by.
        factor: see `records.compare`.
        baseline: see `records.compare`.

    Raises:
        ValueError: no run's config is known; the factor, baseline or metric does not exist; or no finished run has the
            metric.
    """

    def __init__(
        self,
        records: list[Record],
        commands: list[str],
        metric: str = "fd",
        factor: str | None = None,
        baseline: str | None = None,
    ):
        known = [record for record in records if record.config]
        if not known:
            raise ValueError("RUN: expected runs whose config.yaml can be read; got none")
        tables.value_of(metric)
        measured = list(dict.fromkeys(name for record in known for name in record.results.get("metrics", {})))
        if measured and all(record.value(metric) is None for record in known):
            shown = ", ".join(name for name in known_values() if name in measured)
            raise ValueError(f"--metric: expected one that these runs have, {', '.join(LOOKS)}, {shown}; got {metric}")
        self.records = records
        self.commands = commands
        self.metric = metric
        self.comparisons = compare(known, factor, baseline, metric)
        # computed once for all forms of the report, because resampling takes time
        self._main = [tables.differences(comparison, metric) for comparison in self.comparisons]
        self._details = [
            [table(comparison) for table in (tables.metrics, tables.costs, tables.shared, tables.protocol)]
            for comparison in self.comparisons
        ]
        self._problems = tables.problems(records)

    def main_tables(self) -> list[Table]:
        """The differences between arms, one table per context."""
        return self._main

    def all_tables(self) -> list[Table]:
        every = [*self._main, *(table for details in self._details for table in details)]
        return every + ([self._problems] if self._problems else [])

    def write(self, folder: Path) -> Path:
        """Writes all forms into a folder; returns the path of the page."""
        folder.mkdir(parents=True, exist_ok=True)
        every = self.all_tables()
        commands = [code(command) for command in self.commands]
        texts = {
            "report.html": self._page(),
            "tables.md": "\n\n".join([*commands, *(table.to_markdown() for table in every)]) + "\n",
            "tables.csv": "\n".join(table.to_csv() for table in every),
            "tables.tex": "\n\n".join(table.to_latex() for table in every) + "\n",
        }
        for name, text in texts.items():
            (folder / name).write_text(text)
        return folder / "report.html"

    def _page(self) -> str:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
        )
        environment.filters["embed"] = lambda picture: f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        num_done = sum(bool(record.results) for record in self.records)
        return environment.get_template("report.html.jinja").render(
            num_runs=len(self.records),
            num_done=num_done,
            commands=self.commands,
            contexts=[self._context(i, comparison) for i, comparison in enumerate(self.comparisons)],
            problems=self._problems,
            not_pictured=max(0, len(self.comparisons) - MAX_PICTURED),
        )

    def _context(self, i: int, comparison: Comparison) -> dict:
        pictured = i < MAX_PICTURED and any(comparison.values(arm, self.metric) for arm in comparison.arms)
        return {
            "title": comparison.title or "Arms",
            "main": self._main[i],
            "details": self._details[i],
            "figures": {
                f"{self.metric} by seed": pictures.paired(comparison, self.metric),
                f"{self.metric} over training": pictures.over_training(comparison, self.metric),
            }
            if pictured
            else {},
            "samples": pictures.samples(comparison, self.metric) if pictured else {},
            "not_shown": max(0, len(comparison.arms) - pictures.MAX_ARMS) if pictured else 0,
        }
