#!/usr/bin/env python3
"""Draws the picture of a turn as an SVG: scripts/draw-turn.py > scripts/results/turn.svg

The text in the documentation of src/reactor/mod.rs is the source: each of its characters becomes a
cell of the picture, so that both say the same. Box-drawing characters become lines, and the seven steps get a colour each (Okabe and Ito's
palette, which people with colour-blindness can tell apart).
"""

import os
import re
import sys
from xml.sax.saxutils import escape

CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 18, 16
COLOURS = ["#999999", "#56B4E9", "#E69F00", "#009E73", "#F0E442", "#0072B2", "#D55E00"]
# Where lines leave each character: up, right, down, left.
LINES = {
    "│": "ud", "─": "rl", "┌": "rd", "┐": "ld", "└": "ur", "┘": "ul",
    "├": "urd", "┤": "uld", "┬": "rld", "▼": "u", "▶": "l",
}


def lines_of(sign, x, y):
    """The strokes of one character, whose cell begins at x, y."""
    middle_x, middle_y = x + CELL_WIDTH / 2, y + CELL_HEIGHT / 2
    ends = {
        "u": (middle_x, y), "d": (middle_x, y + CELL_HEIGHT),
        "l": (x, middle_y), "r": (x + CELL_WIDTH, middle_y),
    }
    for direction in LINES[sign]:
        end_x, end_y = ends[direction]
        yield (f'<line x1="{middle_x:g}" y1="{middle_y:g}" x2="{end_x:g}" y2="{end_y:g}" '
               'stroke="currentColor"/>')
    if sign == "▼":
        yield f'<path d="M{x:g} {middle_y:g}h{CELL_WIDTH:g}l-{CELL_WIDTH / 2:g} 7z"/>'
    if sign == "▶":
        yield f'<path d="M{middle_x:g} {middle_y - 5:g}v10l7 -5z"/>'


def draw(text):
    rows = text.rstrip("\n").split("\n")
    width = max(map(len, rows)) * CELL_WIDTH + 2 * MARGIN
    height = len(rows) * CELL_HEIGHT + 2 * MARGIN
    yield (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
           'font-family="monospace" font-size="14" role="img">')
    yield "<title>One turn of the loop, and one connection's phases</title>"
    yield f'<rect width="{width:g}" height="{height:g}" fill="white"/>'
    for at, row in enumerate(rows):
        y = MARGIN + at * CELL_HEIGHT
        step = re.search(r"│ ([1-7]) ", row)
        if step:
            x = MARGIN + (step.start() + 0.5) * CELL_WIDTH
            colour = COLOURS[int(step.group(1)) - 1]
            yield (f'<rect x="{x:g}" y="{y:g}" width="{12 * CELL_WIDTH:g}" '
                   f'height="{CELL_HEIGHT}" fill="{colour}" fill-opacity="0.35"/>')
        for column, sign in enumerate(row):
            if sign in LINES:
                yield from lines_of(sign, MARGIN + column * CELL_WIDTH, y)
        for word in re.finditer(r"[^\s│─┌┐└┘├┤┬▼▶]+(?: [^\s│─┌┐└┘├┤┬▼▶]+)*", row):
            x = MARGIN + word.start() * CELL_WIDTH
            length = len(word.group()) * CELL_WIDTH
            yield (f'<text x="{x:g}" y="{y + 13}" textLength="{length:g}">'
                   f"{escape(word.group())}</text>")
    yield "</svg>"


here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "../src/reactor/mod.rs"), encoding="utf-8") as source:
    blocks = re.findall(r"//! ```text\n(.*?)//! ```\n", source.read(), re.DOTALL)
picture = next(block for block in blocks if "one turn of the loop" in block)
text = re.sub(r"^//! ?", "", picture, flags=re.MULTILINE)
sys.stdout.write("\n".join(draw(text)) + "\n")
