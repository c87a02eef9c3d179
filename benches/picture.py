#!/usr/bin/env python3
"""Draws how cost grows with the number of jobs, from the table below "How cost grows" in README.md.

`benches/picture.py` writes benches/growth.svg. Both axes are logarithmic: a line that rises at the same slope as the
dashed one grows as the jobs do.
"""

import math
import pathlib
import re

HERE = pathlib.Path(__file__).parent
WIDTH, HEIGHT, LEFT, TOP = 640, 380, 60, 30
PLOT = (400, 300)
COLOURS = ["#0b6e99", "#b5482a", "#4d7c2a", "#7a4fa3", "#8a6d00"]


def table():
    """The heads of the columns and the rows, as numbers."""
    text = (HERE / "README.md").read_text()
    section = text.split("## How cost grows", 1)[1].split("\n## ", 1)[0]
    lines = section.splitlines()
    rows = [line.strip("| ").split("|") for line in lines if line.startswith("|")]
    heads = [cell.strip() for cell in rows[0]]
    numbers = [[float(re.sub(r"[^0-9.]", "", cell)) for cell in row] for row in rows[2:]]
    return heads, numbers


def main():
    heads, rows = table()
    jobs = [row[0] for row in rows]
    # Each column relative to its first row, so that all begin at one point.
    columns = [[row[place] / rows[0][place] for row in rows] for place in range(1, len(heads))]
    ideal = [count / jobs[0] for count in jobs]
    highest = max(max(column) for column in [*columns, ideal])
    lowest = min(min(column) for column in [*columns, ideal])
    span = math.log10(highest / lowest)

    def point(count, value):
        x = LEFT + PLOT[0] * math.log10(count / jobs[0]) / math.log10(jobs[-1] / jobs[0])
        y = TOP + PLOT[1] * (1 - math.log10(value / lowest) / span)
        return f"{x:.1f},{y:.1f}"

    def line(values, style):
        points = " ".join(point(count, value) for count, value in zip(jobs, values))
        return f'<polyline points="{points}" fill="none" {style}/>'

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<rect x="{LEFT}" y="{TOP}" width="{PLOT[0]}" height="{PLOT[1]}" fill="none" stroke="#999"/>',
        f'<text x="{LEFT}" y="18">Cost relative to that with {jobs[0]:,.0f} jobs</text>',
    ]
    for count in jobs:
        x = point(count, lowest).split(",")[0]
        parts.append(f'<text x="{x}" y="{TOP + PLOT[1] + 18}" text-anchor="middle">{count:,.0f} jobs</text>')
    exponent = math.ceil(math.log10(lowest))
    while 10**exponent <= highest:
        y = point(jobs[0], 10**exponent).split(",")[1]
        parts.append(f'<text x="{LEFT - 6}" y="{y}" text-anchor="end">{10**exponent:g}</text>')
        exponent += 1
    parts.append(line(ideal, 'stroke="#999" stroke-dasharray="4 4"'))
    for place, (head, column) in enumerate(zip(heads[1:], columns)):
        colour = COLOURS[place % len(COLOURS)]
        parts.append(line(column, f'stroke="{colour}" stroke-width="2"'))
        y = TOP + 16 + 20 * place
        x = LEFT + PLOT[0] + 12
        parts.append(f'<text x="{x}" y="{y}" fill="{colour}">{head}</text>')
    parts.append(f'<text x="{LEFT + PLOT[0] + 12}" y="{TOP + 16 + 20 * len(columns)}" fill="#777">as the jobs (dashed)</text>')
    parts.append("</svg>")
    (HERE / "growth.svg").write_text("\n".join(parts) + "\n")


main()
