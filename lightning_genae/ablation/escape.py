"""Escapes text for the forms of a report, so that it cannot act as a command, a formula or markup."""

import re

# ends a line, moves a terminal's cursor or changes the direction of writing
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # first characters of spreadsheet formulas, full-width forms too
NUMBER = r"[-+]?[\d,.]+(e[-+]?\d+)?( %)?"
NUMBERS = re.compile(rf"{NUMBER}( (±|to|or) {NUMBER}| \({NUMBER} to {NUMBER}\))?")
LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "%&_#${}"}
    # at the start of a row, some would be read as an argument of the row before
    | {letter: f"{{{letter}}}" for letter in '[]*"'}
    | {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "`": r"\textasciigrave{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "\N{PLUS-MINUS SIGN}": r"$\pm$",
    }
)


def plain(text: str) -> str:
    """Text of one line: white space as a space, other control characters as their codes."""
    return CONTROL.sub(lambda found: " " if found[0] in "\t\n\r" else f"\\x{ord(found[0]):02x}", text)


def latex(text: str) -> str:
    """Text for a cell of a tabular; negative numbers have a minus sign."""
    return re.sub(r"-(?=\d)", "$-$", plain(text).translate(LATEX))


def markdown(text: str) -> str:
    """Text for a paragraph or a cell of a table, without HTML, links and code."""
    text = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\|`\[\]]", r"\\\g<0>", text)


def code(text: str) -> str:
    """Text as code in Markdown, between more backticks than the text contains in a row."""
    text = plain(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{text}{fence}" if len(fence) == 1 else f"{fence} {text} {fence}"


def csv_cell(text: str) -> str:
    """A cell that spreadsheets do not read as a formula; numbers and intervals are unchanged."""
    text = plain(text)
    return f"'{text}" if text.lstrip().startswith(FORMULA) and not NUMBERS.fullmatch(text) else text
