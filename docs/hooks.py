"""Puts what lies outside docs/ on the site: tables and pictures of benchmarks/, and the files beside README.md."""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
OUTSIDE = (
    "benchmarks/*.md",
    "benchmarks/*/**/*.md",
    "benchmarks/*/*.csv",
    "benchmarks/*/*.png",
    "benchmarks/*/*.yaml",
    "datamodules/sounds/README.md",
    "tests/plugin/pyproject.toml",
    "C*.md",
)
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)[^)#\s]+")


def on_files(files, config):
    """Adds the files, each under its path in the repository."""
    for path in sorted(path for pattern in OUTSIDE for path in ROOT.glob(pattern)):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links that hold in the repository into links that hold on the site, where docs/ is the top."""
    here = posixpath.dirname(page.file.src_uri)
    folder = here if page.file.generated_by else posixpath.join("docs", here)

    def moved(link):
        target = posixpath.normpath(posixpath.join(folder, link[0])).removeprefix("docs/")
        return posixpath.relpath(target, here or ".") if files.get_file_from_path(target) else link[0]

    return LINK.sub(moved, markdown)
