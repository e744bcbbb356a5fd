"""The table as text, CSV, JSON and one HTML page that loads nothing from elsewhere."""
import csv
import html
import io
import json

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b2330; --soft: #5d6878;
  --rule: #e3e7ec; --met: #0d9467; --missed: #c8501e; --none: #8a95a5; }
@media (prefers-color-scheme: dark) { :root { --page: #11151b; --card: #1a2029; --ink: #e7ebf0;
  --soft: #9aa5b4; --rule: #2c3541; --met: #45cf9f; --missed: #ff9466; --none: #6d7888; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 24px 48px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 0 0 12px; }
p { margin: 0 0 10px; } .soft { color: var(--soft); } a { color: inherit; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 16px 18px; margin-top: 16px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; min-width: 860px; table-layout: fixed; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 7px 8px; border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 600; font-size: 13px; }
th:first-child, td:first-child, .left { text-align: left; }
th.name { width: 29%; } th.goal { width: 14%; } th.measured { width: 14%; } th.bar { width: 23%; }
td small { color: var(--soft); display: block; font-size: 12px; white-space: nowrap; }
td { vertical-align: middle; } tr:last-child td { border-bottom: 0; }
td.number { white-space: nowrap; } svg { display: block; } path.goal { stroke: var(--ink); stroke-width: 2; }
.met { color: var(--met); fill: var(--met); } .missed { color: var(--missed); fill: var(--missed); }
.none { color: var(--soft); fill: var(--none); } .spread { stroke: var(--ink); stroke-width: 1.5; opacity: .55; }
.track { fill: var(--rule); }
"""


def kind(row):
    return "none" if row.met is None else "met" if row.met else "missed"


def to_text(rows):
    lines, group = [], None
    for row in rows:
        if row.group != group:
            group = row.group
            lines.append(f"\n{group:54} {'goal':>24} {'measured':>14} {'spread':>20}  verdict")
        lines.append(f"  {row.name:52} {row.goal_text():>24} {row.measured_text():>14} "
                     f"{row.spread_text():>20}  {row.verdict()}")
    return "\n".join(lines) + "\n"


def to_markdown(rows):
    lines = ["| workload | goal | measured | spread | verdict |", "|---|--:|--:|--:|---|"]
    for row in rows:
        lines.append(f"| {row.name} | {row.goal_text()} | {row.measured_text()} | "
                     f"{row.spread_text()} | {row.verdict()} |")
    return "\n".join(lines) + "\n"


def to_csv(rows):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["group", "workload", "unit", "goal", "at_least", "median", "least", "most",
                     "runs", "verdict"])
    for row in rows:
        ends = (min(row.values), max(row.values)) if row.values else ("", "")
        median = row.median if row.values else ""
        writer.writerow([row.group, row.name, row.unit, "" if row.goal is None else row.goal,
                         int(row.at_least), median, *ends, len(row.values), row.verdict()])
    return out.getvalue()


def to_json(rows, machine, settings):
    return json.dumps({
        "machine": machine, "settings": settings,
        "rows": [{"group": row.group, "workload": row.name, "unit": row.unit, "goal": row.goal,
                  "at_least": row.at_least, "median": row.median, "values": row.values,
                  "met": row.met, "verdict": row.verdict()} for row in rows]}, indent=1) + "\n"


def bar(row):
    """The measured value in shares of the goal: the mark is the goal, the line the spread."""
    if not row.values or row.goal is None:
        return ""
    width, most = 200, 2.0
    scale = row.goal if row.goal else max(max(row.values), 1)
    x = lambda value: width * min(value / scale, most) / most  # noqa: E731
    length = max(x(row.median), 1.5)
    cut = "" if row.median <= most * scale else f' <text x="{width + 3}" y="14" class="missed">&#8250;</text>'
    spread = ""
    if len(row.values) > 1:
        spread = (f'<path class="spread" d="M{x(min(row.values)):.1f} 10H{x(max(row.values)):.1f}"/>')
    goal = x(row.goal) if row.goal else 1
    return (f'<svg width="{width + 12}" height="20" viewBox="0 0 {width + 12} 20" role="img" '
            f'aria-label="{html.escape(row.measured_text())}"><rect class="track" x="0" y="5" width="{width}" '
            f'height="10" rx="3"/><rect class="{kind(row)}" x="0" y="5" width="{length:.1f}" '
            f'height="10" rx="3"/>{spread}<path class="goal" d="M{goal:.1f} 1V19"/>{cut}</svg>')


def at_most(text):
    return html.escape(text.replace("<=", "\u2264").replace(">=", "\u2265"))


def table_rows(rows):
    out = []
    for row in rows:
        verdict = html.escape(row.verdict())
        out.append(
            f"<tr><td>{html.escape(row.name)}</td><td class=number>{at_most(row.goal_text())}</td>"
            f"<td class=number>{html.escape(row.measured_text())}<small>"
            f"{html.escape(row.spread_text())}</small></td><td>{bar(row)}</td>"
            f'<td class="left"><span class="{kind(row)}">{verdict}</span></td></tr>')
    return "\n".join(out)


def to_page(rows, machine, settings, has_scaling):
    met = sum(row.met is True for row in rows)
    missed = sum(row.met is False for row in rows)
    rest = sum(row.goal is not None and not row.values for row in rows)
    parts = [f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
             f'<meta name="viewport" content="width=device-width, initial-scale=1">'
             f"<title>gyre: performance</title><style>{STYLE}</style></head><body><main>"
             f"<h1>gyre: performance</h1><p class=soft>{met} goals met, {missed} missed, {rest} not "
             f"run. {html.escape(settings)}</p>"]
    if has_scaling:
        parts.append('<p><a href="thread_scaling.html">How it scales with threads</a></p>')
    for group in dict.fromkeys(row.group for row in rows):
        mine = [row for row in rows if row.group == group]
        parts.append(
            f"<section class=card><h2>{html.escape(group)}</h2><table><tr><th class=name>workload</th><th class=goal>goal"
            f"</th><th class=measured>median, spread</th><th class='bar left'>against the goal</th>"
            f"<th class=left>verdict</th></tr>{table_rows(mine)}</table></section>")
    described = "".join(f"<tr><td style='width:22%'>{html.escape(name)}</td><td class=left>{html.escape(value)}</td>"
                        f"</tr>" for name, value in machine.items())
    parts.append(
        "<section class=card><h2>How to read it</h2><p>x raw: the server's CPU time for a request, "
        "over that of benchmarks/raw_epoll in the same repetition, measured before and after. A "
        "fresh server for each sample. Single samples vary by 10 to 20 %, so a ratio within 0.10 of "
        "its goal is no more than a hint; counts are exact. The bar is the median in shares of the "
        "goal (the mark, at half of the width), the line in it goes from the least to the most; "
        "where the goal is &quot;at least&quot;, longer is better.</p></section>"
        f"<section class=card><h2>Machine</h2><table>{described}</table></section>"
        "</main></body></html>")
    return "\n".join(parts) + "\n"
