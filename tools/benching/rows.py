"""The rows of the table: what is measured, and what the goal is.

A row's measure(context) gives one value a repetition. Rows of one repetition follow one another, and
in a ratio its two sides do, so that what disturbs the machine for a while disturbs both.
"""
import json
import re
import statistics
import subprocess

from benching.programs import Failed


class Row:
    """One goal: at most (or at least) `goal` of `unit`."""

    def __init__(self, name, goal, unit, measure, times="many", at_least=False, digits=2, group=""):
        self.name, self.goal, self.unit, self.measure = name, goal, unit, measure
        self.once = times == "once"
        self.at_least, self.digits, self.group = at_least, digits, group
        self.values, self.notes, self.why_not = [], [], None

    def take(self, context):
        """One repetition. What fails is not tried again."""
        if self.why_not or (self.once and self.values):
            return
        try:
            value = self.measure(context)
        except (Failed, OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            if not self.values:
                self.why_not = " ".join(str(error).split())[:200] or type(error).__name__
            return
        self.values.append(value)

    @property
    def median(self):
        return statistics.median(self.values) if self.values else None

    @property
    def met(self):
        if not self.values or self.goal is None:
            return None
        # What is shown decides: 1.004 is 1.00.
        value = round(self.median, self.digits)
        return value >= self.goal if self.at_least else value <= self.goal

    def show(self, value):
        return f"{value:,.{self.digits}f}"

    def goal_text(self):
        if self.goal is None:
            return "-"
        return f"{'>=' if self.at_least else '<='} {self.goal:g} {self.unit}".strip()

    def measured_text(self):
        return f"{self.show(self.median)} {self.unit}".strip() if self.values else "-"

    def spread_text(self):
        if not self.values:
            return "-"
        if len(self.values) == 1:
            return "one run"
        return f"{self.show(min(self.values))} .. {self.show(max(self.values))}"

    def verdict(self):
        if not self.values:
            return f"not run: {self.why_not or 'no repetition'}"
        if self.goal is None:
            return "to compare"
        if self.met:
            return "met"
        gap = abs(self.median - self.goal)
        share = f" ({100 * gap / self.goal:.0f} %)" if self.goal else ""
        return f"missed by {self.show(gap)} {self.unit}".strip() + share


class Context:
    """What measurements need, and what several rows take from the same run."""

    def __init__(self, machine, window, quick, benchmarks):
        self.machine, self.window, self.quick = machine, window, quick
        self.benchmarks = benchmarks  # name of an in-process program to its file, or None: not built
        self.repetition = 0
        self.remembered = {}

    def once_a_repetition(self, key, measure):
        if self.remembered.get(key, (None,))[0] != self.repetition:
            self.remembered[key] = (self.repetition, measure())
        return self.remembered[key][1]


def against_raw(flags, server_flags=(), cpu="client", mode="echo", edge=False):
    """Server CPU per request, gyre over raw_epoll; raw before and after, gyre between. `edge`:
    raw_epoll itself, edge-triggered, in gyre's place."""

    def measure(context):
        machine = context.machine
        window = context.window

        def raw(*more):
            return machine.cpu_per_request([*machine.raw(mode), *more], flags, window, cpu)

        before = raw()
        between = raw("--edge") if edge else machine.cpu_per_request(
            machine.gyre(*server_flags), flags, window, cpu)
        return between / ((before + raw()) / 2)

    return measure


def churn_over_thread(context):
    """Connections through the acceptor's thread, over those that each loop accepts itself."""
    machine = context.machine
    flags = ["--connections=64", "--mode=reconnect"]

    def cost(mode):
        return machine.cpu_per_request(machine.gyre(f"--accept={mode}"), flags, context.window)

    before = cost("reuseport")
    through = cost("thread")
    return through / ((before + cost("reuseport")) / 2)


def wakeups_per_connection(context):
    counted = context.machine.counted(["--connections=64", "--mode=reconnect"], context.window,
                                      "allocations", ["--accept=thread"])
    return counted["wakeups"] / counted["connections"]


def two_threads_over_one(program):
    """Server CPU per request. Two threads are on each other's CPU, and on the client's, too."""

    def measure(context):
        machine = context.machine

        def cost(threads):
            command = [machine.program(program), f"--threads={threads}"]
            return machine.cpu_per_request(command, ["--connections=100"], context.window, pin=False)

        before = cost(1)
        two = cost(2)
        return two / ((before + cost(1)) / 2)

    return measure


def bytes_per_second(context):
    """GiB/s of a core: 16 KiB there and back count once."""
    machine = context.machine
    cost = machine.cpu_per_request(machine.gyre(), ["--connections=100", "--size=16384"],
                                   context.window)
    return 16384 / (cost / 1e6) / 2**30


def user_space(form):
    def measure(context):
        machine = context.machine
        command = ([machine.program("echo_forms"), form, "--threads=1"] if form != "raw"
                   else machine.raw())
        return machine.without_kernel(command, 500000 if context.quick else 2000000)

    return measure


def counted(flags, what, per="bytes", each=64, server_flags=()):
    def measure(context):
        # Long enough that the few allocations that are not a request's do not show.
        window = max(1, 4 * context.window) if what == "allocations" else 2 * context.window
        return context.machine.count_each(flags, what, per, window, server_flags, each)

    return measure


def http(depth, ratio):
    def measure(context):
        machine = context.machine
        gyre = machine.wrk(machine.gyre(name="http_hello"), depth, 1)
        return gyre / machine.wrk(machine.raw("http"), depth, 1) if ratio else gyre

    return measure


def in_process(program, contender, scale=1.0, counter=None):
    """A figure of one of the Google Benchmark programs: the median of its own repetitions."""

    def run(context):
        path = context.benchmarks.get(program)
        if path is None:
            raise Failed(f"//benchmarks:{program} is not built")
        repetitions = 1 if context.quick else 5
        done = subprocess.run(
            [path, "--benchmark_format=json", f"--benchmark_repetitions={repetitions}",
             "--benchmark_filter=" + WANTED[program]],
            capture_output=True, text=True, timeout=60 if context.quick else 300)
        if done.returncode != 0:
            raise Failed(f"{program}: {done.stderr.strip()[-150:]}")
        found = {}
        for one in json.loads(done.stdout)["benchmarks"]:
            if one.get("run_type") == "iteration" and not one.get("error_occurred"):
                name = re.sub(r"/(iterations|repeats):.*$", "", one["run_name"])
                found.setdefault(name, []).append(one)
        return found

    def measure(context):
        try:
            found = context.remembered.setdefault(program, None) or run(context)
        except Failed as error:
            context.remembered[program] = {"": str(error)}
            raise
        if "" in found:
            raise Failed(found[""])
        context.remembered[program] = found
        names = [name for name in found if re.fullmatch(contender, name)]
        if not names:
            raise Failed(f"{program} has no {contender}")
        values = [statistics.median(one.get(counter, 0.0) if counter else one["real_time"] * scale
                                    for one in found[name]) for name in names]
        return max(values)

    return measure


# What of each program is for a row: the peers' figures are the programs' own to show.
WANTED = {
    "post_benchmark": "post/.*/gyre",
    "round_trip_benchmark": "round_trip/.*/(gyre|eventfds)",
    "timer_benchmark": "timer/(rearm.*timers:100000|fire/timers:1000000)/gyre",
}


def all_rows():
    connections = "--connections={}".format
    return [
        Row("echo 64 B in user space, callback and idle timeout", 22, "ns", user_space("idle"),
            digits=1, group="User space"),
        Row("echo 64 B in user space, coroutine", 60, "ns", user_space("coroutine"), digits=1,
            group="User space"),
        Row("the same of raw_epoll, to compare", None, "ns", user_space("raw"), digits=1,
            group="User space"),
        Row("system calls a request, 1 connection", 3.0, "", counted([connections(1)], "syscalls"),
            "once", group="Counts", digits=2),
        Row("system calls a request, 100 connections", 2.02, "",
            counted([connections(100)], "syscalls"), "once", group="Counts"),
        Row("allocations a request, 100 connections", 0, "",
            counted([connections(100)], "allocations"), "once", group="Counts"),
        Row("echo 64 B, 1 connection, one core for both", 1.02, "x raw",
            against_raw([connections(1)], cpu="server"), group="Echo"),
        Row("echo 64 B, 100 connections", 1.00, "x raw", against_raw([connections(100)]),
            group="Echo"),
        Row("echo 64 B, 1,000 connections", 0.93, "x raw", against_raw([connections(1000)]),
            group="Echo"),
        Row("the same of raw_epoll with edges, to compare", None, "x raw",
            against_raw([connections(1000)], edge=True), group="Echo"),
        Row("echo 64 B, 10,000 connections", 0.90, "x raw", against_raw([connections(10000)]),
            group="Echo"),
        Row("the same of raw_epoll with edges, to compare", None, "x raw",
            against_raw([connections(10000)], edge=True), group="Echo"),
        Row("echo 64 B, 16 in flight on each of 100", 1.00, "x raw",
            against_raw([connections(100), "--pipeline=16"]), group="Echo"),
        Row("echo 4 KiB, 100 connections", 1.00, "x raw",
            against_raw([connections(100), "--size=4096"]), group="Echo"),
        Row("echo 16 KiB, 100 connections", 1.00, "x raw",
            against_raw([connections(100), "--size=16384"]), group="Echo"),
        Row("echo 16 KiB, of one core", 1.7, "GiB/s", bytes_per_second, at_least=True,
            group="Echo"),
        Row("connect, one echo, close", 0.90, "x raw",
            against_raw([connections(64), "--mode=reconnect"], ["--accept=reuseport"]),
            group="Connections"),
        Row("system calls a connection", 8.5, "",
            counted([connections(64), "--mode=reconnect"], "syscalls", "connections", 1,
                    ["--accept=reuseport"]), "once", group="Connections"),
        Row("allocations a connection", 2, "",
            counted([connections(64), "--mode=reconnect"], "allocations", "connections", 1,
                    ["--accept=reuseport"]), "once", group="Connections"),
        Row("through the acceptor's thread", 1.25, "x per-loop", churn_over_thread,
            group="Connections"),
        Row("wake-ups a connection through it", 1, "", wakeups_per_connection, "once",
            group="Connections"),
        Row("an idle connection with callback and timeout", 256, "B",
            lambda context: context.machine.idle_bytes(
                [context.machine.program("echo_forms"), "idle", "--threads=1"]), "once", digits=0,
            group="Connections"),
        Row("HTTP by wrk, 100 connections", 1.10, "x raw", http(1, True), group="HTTP"),
        Row("HTTP by wrk, 16 in flight on each", 1.0, "us", http(16, False), group="HTTP"),
        Row("add_callback, 1 producer, 16 B", 20, "ns",
            in_process("post_benchmark", "post/16B/producers:1/gyre"), "once", digits=1,
            group="Between threads"),
        Row("add_callback, 2 producers, 16 B", 20, "ns",
            in_process("post_benchmark", "post/16B/producers:2/gyre"), "once", digits=1,
            group="Between threads"),
        Row("add_callback, 4 producers, 16 B", 20, "ns",
            in_process("post_benchmark", "post/16B/producers:4/gyre"), "once", digits=1,
            group="Between threads"),
        Row("allocations a post, up to 48 B", 0, "",
            in_process("post_benchmark", "post/(16|48)B/.*/gyre", counter="allocations_per_post"),
            "once", digits=3, group="Between threads"),
        Row("round trip of two sleeping loops, two cores", 48, "us",
            in_process("round_trip_benchmark", "round_trip/two_cpus/gyre", 1e-3), "once", digits=1,
            group="Between threads"),
        Row("the same of two threads over eventfds, to compare", None, "us",
            in_process("round_trip_benchmark", "round_trip/two_cpus/eventfds", 1e-3), "once",
            digits=1, group="Between threads"),
        Row("round trip of two loops, spinning", 1, "us",
            in_process("round_trip_benchmark", "round_trip/two_cpus/gyre_.*spin.*", 1e-3), "once",
            group="Between threads"),
        Row("2 loops over 1, CPU per request", 1.02, "x", two_threads_over_one("echo_server"),
            group="Between threads"),
        Row("the same of raw_epoll, to compare", None, "x", two_threads_over_one("raw_epoll"),
            group="Between threads"),
        Row("re-arm one of 100,000 at random, call_at", 80, "ns",
            in_process("timer_benchmark", "timer/rearm_random/.*:100000/gyre_call_at"), "once",
            digits=1, group="Timers"),
        Row("the same with call_later, which looks at the clock", 80, "ns",
            in_process("timer_benchmark", "timer/rearm_random/.*:100000/gyre"), "once", digits=1,
            group="Timers"),
        Row("re-arm one of 100,000, constant timeout, IdleTimeout", 30, "ns",
            in_process("timer_benchmark", "timer/rearm_constant/.*:100000/gyre_idle_timeout"),
            "once", digits=1, group="Timers"),
        Row("the same with call_later", 30, "ns",
            in_process("timer_benchmark", "timer/rearm_constant/.*:100000/gyre"), "once", digits=1,
            group="Timers"),
        Row("fire 1,000,000 timers", 250, "ns each",
            in_process("timer_benchmark", "timer/fire/.*/gyre"), "once", digits=0,
            group="Timers"),
    ]
