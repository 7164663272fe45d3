"""Texts as a page: a file to read and a picture of it."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

MAX_LINE = 160  # characters of a line that a picture shows


def save_page(path: Path, texts: list[str], num_columns: int, rows: tuple[str, ...] = ("",)) -> Path:
    """Writes texts as one PNG and, one per line, as a .txt next to it; line breaks and tabs are written as \\n and \\t.

    Args:
        path: of the PNG.
        texts: N of them.
        num_columns: texts per row; an empty line separates rows.
        rows: what the rows show, by turns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    width = max(map(len, rows))
    lines = []
    for i, text in enumerate(texts):
        row, column = divmod(i, num_columns)
        if column == 0 and i and (num_columns > 1 or row % len(rows) == 0):
            lines.append("")
        lines.append(f"{rows[row % len(rows)]:{width}}  {as_line(text)}".strip() if width else as_line(text))
    path.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _picture([line if len(line) <= MAX_LINE else f"{line[:MAX_LINE]}…" for line in lines]).save(path)
    return path


def as_line(text: str) -> str:
    """A text in one line, visible even if it has only blanks."""
    if text and not text.strip(" "):
        return f"({len(text)} blanks)"
    for mark, written in {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}.items():
        text = text.replace(mark, written)
    return text


def _picture(lines: list[str]) -> Image.Image:
    # matplotlib includes a font with more than ASCII
    from matplotlib import font_manager

    font = ImageFont.truetype(font_manager.findfont("DejaVu Sans Mono"), 13)
    height = 18
    longest = max((font.getlength(line) for line in lines), default=0)
    page = Image.new("RGB", (int(longest) + 20, height * len(lines) + 16), "white")
    for i, line in enumerate(lines):
        ImageDraw.Draw(page).text((10, 8 + i * height), line, fill="black", font=font)
    return page
