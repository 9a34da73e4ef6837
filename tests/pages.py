"""The documentation as text: pages, their blocks, and how a block of Python is run."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def texts(language, page):
    """The blocks of a language on a page."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def run_python(page):
    """Runs a page from the top, what one block imports the next has; the number of expressions that were compared.

    Every line is a statement, or `expression  # repr`.
    """
    names, compared = {}, 0
    for text in texts("python", page):
        for line in text.splitlines():
            code, _, said = line.partition("  # ")
            if said:
                assert repr(eval(code, names)) == said, code
                compared += 1
            else:
                exec(code, names)
    return compared
