"""README and docs as tests read them: blocks, commands, and the figures that they quote."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in
         (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}  # fmt: skip
# A perplexity or a ratio (41.30), or a speed (2,084 tokens/s); memory by formula (1.25 GiB) and versions are neither.
FIGURE = re.compile(r"(?<![\w.,/-])(?<!Python )(\d+\.\d\d(?![\d.])(?!\s[GM]i?B)|\d[\d,]*(?= tokens/s))")
# Every figure stands in a table of one of these pages; a paragraph that quotes it links to that page.
SOURCES = ("README.md", "docs/wikitext2.md", "docs/recipe.md", "docs/speed.md", "docs/paper.md")


def blocks(page: str, kind: str) -> list[str]:
    """Contents of the fenced code blocks of one language."""
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGES[page], re.S | re.M)


def commands() -> list[tuple[str, list[str]]]:
    """(page, words) of every command in a bash block; a line that ends in a backslash goes on."""
    found = []
    for page in PAGES:
        for block in blocks(page, "bash"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(page, words) for line in lines if (words := shlex.split(line, comments=True))]
    return found


def paragraphs(text: str) -> list[str]:
    """Of prose: code blocks, tables and captions (in italics, below their table) are left out."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    parts = re.split(r"\n\s*\n|\n(?=[-|#] ?)", text)
    return [part for part in parts if not part.startswith(("|", "*"))]


def table_cells(text: str) -> set[str]:
    """Numbers in the tables and captions of a page."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return set(re.findall(r"\d[\d,]*(?:\.\d+)?", "\n".join(rows)))


def unsourced(page: str, text: str, pages: dict[str, str]) -> list[str]:
    """Figures in a page's prose that no table has, of the page itself or of a page that the paragraph links to."""
    wrong = []
    for paragraph in paragraphs(text):
        linked = [name for name in SOURCES if re.search(rf"\]\([./]*(docs/)?{Path(name).name}[)#]", paragraph)]
        known = set().union(*(table_cells(pages[name]) for name in {page, *linked}))
        wrong += [figure for figure in FIGURE.findall(paragraph) if figure not in known]
    return wrong
