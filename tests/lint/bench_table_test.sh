#!/usr/bin/env bash
# What tools/bench says of a goal: met, missed and by how much, or why it was not run.
source tests/lint/lint.sh

command -v python3 >/dev/null || { echo "skipped: there is no python3"; exit 0; }

tools/bench --help | grep -q -- --quick || complain "tools/bench --help does not explain --quick"

complain "$(PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tools python3 2>&1 <<'PYTHON'
from benching import page
from benching.programs import Failed
from benching.rows import Context, Row, all_rows


def row(goal, values, **more):
    one = Row("name", goal, "ns", lambda context: next(source), **more)
    source = iter(values)
    for _ in values:
        one.take(None)
    return one


def check(got, expected):
    if got != expected:
        print(f"expected {expected!r}, got {got!r}")


check(row(22, [20, 30, 21]).verdict(), "met")
check(row(22, [20, 30, 33]).verdict(), "missed by 8.00 ns (36 %)")
check(row(22, [20, 30, 33]).spread_text(), "20.00 .. 33.00")
check(row(1.00, [1.004]).verdict(), "met")
check(row(0, [2]).verdict(), "missed by 2.00 ns")
check(row(1.7, [1.5], at_least=True).verdict(), "missed by 0.20 ns (12 %)")
check(row(None, [1.5]).verdict(), "to compare")


def fail(_):
    raise Failed("no strace")


failing = Row("name", 1, "", fail)
failing.take(None)
check(failing.verdict(), "not run: no strace")

# A program that is not built is a reason, not an error.
absent = [one for one in all_rows() if one.group == "Timers"][0]
absent.take(Context(None, 1, True, {}))
check(absent.verdict(), "not run: //benchmarks:timer_benchmark is not built")

rows = [row(22, [20]), row(1, [5]), failing]
text = page.to_page(rows, {"CPU": "<one>"}, "now", False)
check("&lt;one&gt;" in text and "1 goals met, 1 missed, 1 not run" in text, True)
check(any(word in text for word in ("http:", "https:", "<script", "src=")), False)
check(page.to_csv(rows).count("\n"), 4)
PYTHON
)"

finish
