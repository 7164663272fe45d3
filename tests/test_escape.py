"""Hostile text in the forms of a report, which are parsed as their readers would: it is text there and nothing else."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lightning_genae.ablation.escape import code, csv_cell, latex, markdown, plain
from lightning_genae.ablation.records import read
from lightning_genae.ablation.report import Report
from lightning_genae.ablation.tables import Table
from tests.test_report import make_grid

HOSTILE = [
    "<script>open('mark')</script>",
    '"><img src=x onerror=alert(1)>',
    "</td></table><iframe src=javascript:alert(1)>",
    "{{ 7 * 7 }}{% raw %}",
    "=cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)",
    " =1+1",
    "\uff1d1+1",
    "\\input{/etc/passwd}",
    "\\write18{touch mark}",
    "[2pt] x",
    "*",
    "% comment",
    "a & b \\\\ \\hline",
    "$\\frac{$ _x^y# ~",
    "^^5cinput{/etc/passwd}",
    "two\nlines",
    "two\n\n\\input{x}",
    "\ttab",
    "\x1b[2J\x1b]0;title\x07",
    "a | b",
    "a \\| b",
    "[x](javascript:alert(1))",
    "`code`",
    "\u202egpj",
]
TABLE = Table("\n".join(HOSTILE), ["arm", *HOSTILE], [[text, *HOSTILE] for text in HOSTILE], "\n".join(HOSTILE))


def test_csv():
    rows = list(csv.reader(io.StringIO(TABLE.to_csv())))
    assert len(rows) == len(HOSTILE) + 3 and rows[1] == ["arm", *map(csv_cell, HOSTILE)]
    for cell in (cell for row in rows for cell in row):
        assert not cell.strip().startswith(tuple("=+-@\uff1d")) and cell.isprintable()
    assert csv_cell("@SUM(1+1)") == "'@SUM(1+1)"


@pytest.mark.parametrize(
    "text",
    ["-0.00012", "+1,234.5", "-1e-05", "-12.3 %", "-1 ± 2", "-47.3 % (-65.3 % to -19.9 %)", "-3 % or +3.1 %", ""],
)
def test_numbers_stay_numbers(text):
    assert csv_cell(text) == text


def read_latex(text: str) -> str:
    """Text as LaTeX sets it.

    Raises:
        AssertionError: there is more in it than text.
    """
    names = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textasciigrave": "`"}
    names |= {"textless": "<", "textgreater": ">", "textbar": "|"}
    token = r"\\([a-z]+)\{\}|\\([%&_#${}])|\{([\[\]*\"])\}|\$(-|\\pm)\$|([^\\{}$%&#_~^`<>|\[\]*\"])"
    parts, place = [], 0
    while place < len(text):
        found = re.compile(token).match(text, place)
        assert found, text[place:]
        name, letter, grouped, sign, other = found.groups()
        parts.append(names[name] if name else letter or grouped or {"-": "-", "\\pm": "±"}.get(sign) or other)
        place = found.end()
    return "".join(parts)


def test_latex():
    lines = TABLE.to_latex().splitlines()
    assert [line[:2] for line in lines[:2]] == ["% ", "% "]
    assert lines[2].startswith("\\begin{tabular}{l") and lines[-1] == "\\end{tabular}"
    rows = [line for line in lines[3:-1] if line not in ("\\toprule", "\\midrule", "\\bottomrule")]
    assert len(rows) == len(HOSTILE) + 1 and all(row.endswith(" \\\\") for row in rows)
    for row, first in zip(rows, ["arm", *HOSTILE]):
        cells = row.removesuffix(" \\\\").split(" & ")
        assert [read_latex(cell) for cell in cells] == [plain(text) for text in (first, *HOSTILE)]
    assert latex("-0.5 ± 0.1") == "$-$0.5 $\\pm$ 0.1"


def test_markdown():
    """A row a row, as many cells, and nothing that is markup."""
    lines = TABLE.to_markdown().splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == len(HOSTILE) + 2
    for row in rows:
        cells = re.findall(r"(?:[^\\|]|\\.)+", row)
        assert len(cells) == len(HOSTILE) + 1
    assert not re.search(r"<|(?<!\\)(\\\\)*[`\[]", "".join(lines))
    assert code("a `` b\nc") == "``` a `` b c ```" and markdown("a|b") == "a\\|b"


def test_terminal():
    assert all(line.isprintable() for line in TABLE.to_text().splitlines())
    assert len(TABLE.to_text().splitlines()) < len(HOSTILE) + 40


class Page(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.elements, self.attributes, self.text = set(), set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.attributes |= {f"{name}={value[:10]}" for name, value in attrs if name in ("src", "srcset", "href")}

    def handle_data(self, data):
        self.text.append(data)


def test_html_of_hostile_runs(tmp_path):
    """Names of arms, options, paths, errors and commands."""
    arms = [HOSTILE[16], *(text for text in HOSTILE if text.isascii())][:12]  # one is no formula
    runs = []
    for seed, text in enumerate(arms * 2):
        config = {"augment": text, "seed": seed // 12, "model.lr": text, "data__root": text}
        runs.append((config, {"fd": float(seed)} if seed else {}))
    runs = [({key.replace("__", "."): v for key, v in config.items()}, values) for config, values in runs]
    make_grid(tmp_path / "grid", [(config, values) for config, values in runs])
    noted = json.loads((tmp_path / "grid/ablation.json").read_text()) | {"commands": HOSTILE}
    (tmp_path / "grid/ablation.json").write_text(json.dumps(noted))
    (tmp_path / "grid/run0.error").write_text(HOSTILE[0])
    report = Report(*read([tmp_path / "grid"]), factor="augment")
    page = Page(report.write(tmp_path / "report").read_text())
    assert page.elements <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "pre", "details", "summary", "div", "table"),
        *("thead", "tbody", "tr", "th", "td", "p", "section", "figure", "figcaption", "picture", "source", "img"),
    }
    assert page.attributes <= {
        *("lang", "charset", "name", "content", "http-equiv", "open", "class", "srcset", "media", "src", "alt"),
        *("src=data:image", "srcset=data:image"),
    }
    text = "".join(page.text)
    assert all(one.strip() in text for one in arms)
    assert not Path("mark").exists()


def test_a_picture_that_leads_elsewhere_is_not_in_a_report(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"secret")
    make_grid(tmp_path / "grid", [({"augment": arm, "seed": i}, {"fd": 1.0 + i}) for i in (0, 1) for arm in ("a", "b")])
    for path in tmp_path.glob("grid/run*/samples/1.png"):
        path.unlink()
        path.symlink_to(tmp_path / "secret.png")
    assert all(record.picture() is None for record in read([tmp_path / "grid"])[0])


def test_runs_elsewhere_are_not_in_a_report(tmp_path):
    make_grid(tmp_path / "grid", [({"augment": "a"}, {"fd": 1.0})])
    noted = json.loads((tmp_path / "grid/ablation.json").read_text())
    noted["cells"][0]["folder"] = "../elsewhere"
    (tmp_path / "grid/ablation.json").write_text(json.dumps(noted))
    with pytest.raises(ValueError, match="expected runs below its folder"):
        read([tmp_path / "grid"])
