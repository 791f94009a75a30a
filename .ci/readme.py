"""Write README.md from nbs/index.ipynb; with --check, fail if it differs."""

import sys
from pathlib import Path

from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent


def render() -> str:
    """Convert the index notebook to Markdown whose links start at the top level."""
    text, resources = MarkdownExporter().from_filename(str(ROOT / "nbs" / "index.ipynb"))
    if resources["outputs"]:
        raise SystemExit(
            "nbs/index.ipynb holds picture outputs: show pictures with Markdown links to nbs/images/."
        )
    for folder in ("images/", "tutorials/"):
        text = text.replace(f"]({folder}", f"](nbs/{folder}")
    text = text.replace("](../", "](")
    return text.strip() + "\n"


if __name__ == "__main__":
    readme = ROOT / "README.md"
    if "--check" not in sys.argv:
        readme.write_text(render(), encoding="utf-8")
    elif readme.read_text(encoding="utf-8") != render():
        raise SystemExit("README.md differs from nbs/index.ipynb: run `make readme`.")
