"""Coloured pictures of 64 pixels from an npm package of emoji, a folder for each class.

    npm pack emoji-datasource-twitter@16.0.0 && tar xf emoji-datasource-twitter-16.0.0.tgz
    python benchmarks/emoji_from_npm.py package emoji       1,900 PNGs in nine classes

Classes are the categories of the package's emoji.json; variants by tone of skin are left out, and so are the five of
the class Component. Works with emoji-datasource-facebook, -google and -apple too.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="the unpacked package")
    parser.add_argument("out", type=Path, help="the folder to make")
    given = parser.parse_args()
    about = given.package / "emoji.json"
    pictures = sorted(given.package.glob("img/*/64"))
    if not about.is_file() or len(pictures) != 1:
        sys.exit(f"'{given.package}': expected emoji.json and img/NAME/64 of an emoji-datasource package")
    num = 0
    for emoji in json.loads(about.read_text()):
        path = pictures[0] / emoji["image"]
        if emoji["category"] == "Component" or not path.is_file():  # a designer may have left one out
            continue
        folder = given.out / emoji["category"].lower().replace(" & ", "-and-").replace(" ", "-")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
        num += 1
    print(f"{num:,} pictures in '{given.out}'")


if __name__ == "__main__":
    main()
