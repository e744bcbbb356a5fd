"""Starts servers, loads them, and counts what they use."""
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time


class Failed(Exception):
    """A measurement that could not be taken; its text says why."""


def cpu_seconds(pid):
    """CPU time of a process's threads, in nanosecond steps, the kernel's share included."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                total += int(file.read().split()[0])
        except OSError:  # it has ended
            pass
    return total / 1e9


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise Failed("no VmRSS in /proc")


class Server:
    """A server that was started, on a CPU of its own choice; ended with the block."""

    def __init__(self, command, cpu=None, environment=None, wrap=()):
        pin = ["taskset", "-c", str(cpu)] if cpu is not None else []
        self.process = subprocess.Popen(
            pin + list(wrap) + [str(part) for part in command], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})})
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            self.process.kill()
            raise Failed(f"{command[0]} does not listen: {self.process.communicate()[1].strip()}")
        self.address = line.split()[-1]
        self.port = int(self.address.rsplit(":", 1)[1])
        self.pid = self._innermost(self.process.pid) if wrap else self.process.pid

    @staticmethod
    def _innermost(pid):
        while True:
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                children = file.read().split()
            if not children:
                return pid
            pid = int(children[0])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end(signal.SIGKILL)

    def end(self, number=signal.SIGTERM):
        """Ends it and gives what it printed."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass
        try:
            return self.process.communicate(timeout=20)[0]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
            raise Failed("a server did not end")

    def totals(self):
        """Ends it: connections, bytes in, callbacks and wake-ups of gyre's own table."""
        for line in self.end().splitlines():
            fields = line.split()
            if fields and fields[0] == "all":
                return {"connections": int(fields[1]), "bytes": int(fields[2]),
                        "wakeups": int(fields[5])}
        raise Failed("the server printed no table")


class Machine:
    """Where things run: the programs' folder and the CPUs of server and client."""

    def __init__(self, folder):
        self.folder = folder
        cpus = sorted(os.sched_getaffinity(0))
        self.server_cpu = cpus[0]
        self.client_cpu = cpus[1] if len(cpus) > 1 else cpus[0]
        self.cpus = len(cpus)

    def program(self, name):
        return os.path.join(self.folder, name)

    def gyre(self, *flags, name="echo_server"):
        return [self.program(name), "--threads=1", *flags]

    def raw(self, mode="echo"):
        return [self.program("raw_epoll"), f"--mode={mode}"]

    def load(self, server, flags, window, warm_up=0.2, cpu="client"):
        """A run of tcp_load against the server: its JSON."""
        pin = {"client": self.client_cpu, "server": self.server_cpu}.get(cpu)
        command = (["taskset", "-c", str(pin)] if pin is not None else []) + [
            self.program("tcp_load"), f"--target={server.address}", "--json",
            f"--server_pid={server.pid}", f"--warm_up={round(warm_up * 1000)}",
            f"--milliseconds={round(window * 1000)}", *flags]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if run.returncode != 0:
            raise Failed(f"tcp_load: {run.stderr.strip()}")
        return json.loads(run.stdout)

    def cpu_per_request(self, command, flags, window, cpu="client", environment=None, pin=True):
        """Microseconds of the server's CPU for each request, of a fresh server."""
        with Server(command, self.server_cpu if pin else None, environment) as server:
            return self.load(server, flags, window,
                             cpu=cpu if pin else None)["server_cpu_us_per_request"]

    def wrk(self, command, depth, seconds):
        """The same, with wrk as the client."""
        with Server(command, self.server_cpu) as server:
            script = ["-s", self.program("pipeline.lua")] if depth > 1 else []
            before = cpu_seconds(server.pid)
            run = subprocess.run(
                ["taskset", "-c", str(self.client_cpu), "wrk", "-t1", "-c100", f"-d{seconds}s",
                 *script, f"http://{server.address}/", "--", str(depth)],
                capture_output=True, text=True, timeout=60)
            used = cpu_seconds(server.pid) - before
        found = re.search(r"(\d+) requests in", run.stdout)
        if not found or "Non-2xx" in run.stdout:
            raise Failed(f"wrk: {run.stdout.strip()} {run.stderr.strip()}")
        return used / int(found.group(1)) * 1e6

    def without_kernel(self, command, requests):
        """Nanoseconds of user space for each request (benchmarks/no_kernel.cc)."""
        with tempfile.NamedTemporaryFile() as output:
            settings = {"LD_PRELOAD": self.program("libno_kernel.so"),
                        "GYRE_NO_KERNEL_OUTPUT": output.name,
                        "GYRE_NO_KERNEL_REQUESTS": str(requests)}
            with Server(command, self.server_cpu, settings) as server:
                clients = [socket.create_connection(("127.0.0.1", server.port), 5)
                           for _ in range(100)]
                try:
                    server.process.wait(30)
                except subprocess.TimeoutExpired:
                    raise Failed("the server never had its requests")
                finally:
                    for client in clients:
                        client.close()
            return json.load(output)["ns_per_request"]

    def counted(self, flags, window, what, server_flags=()):
        """Totals of gyre's server and how many system calls or allocations it had meanwhile."""
        if what == "allocations":
            with tempfile.NamedTemporaryFile() as count:
                count.write(bytes(8))
                count.flush()
                settings = {"LD_PRELOAD": self.program("libcount_allocations.so"),
                            "GYRE_COUNT_FILE": count.name}
                with Server(self.gyre(*server_flags), self.server_cpu, settings) as server:
                    self.load(server, flags, window, warm_up=0)
                    totals = server.totals()
                count.seek(0)
                return {**totals, "count": int.from_bytes(count.read(8), "little")}
        with tempfile.NamedTemporaryFile("r") as table:
            wrap = ["strace", "-f", "-c", "-o", table.name]
            with Server(self.gyre(*server_flags), self.server_cpu, wrap=wrap) as server:
                self.load(server, flags, window, warm_up=0)
                totals = server.totals()
            for line in table:
                fields = line.split()
                if fields and fields[-1] == "total":
                    return {**totals, "count": int(fields[3])}
        raise Failed("strace gave no table: may this process use it?")

    def count_each(self, flags, what, per, window=0.5, server_flags=(), each=1):
        """The count for each request or connection: the difference of a long and a short run, in
        which what the start and the end cost cancels out."""
        short, long = (self.counted(flags, part, what, server_flags) for part in (window / 4, window))
        done = (long[per] - short[per]) / each
        if done <= 0:
            raise Failed("the long run served no more than the short one")
        return max(0, long["count"] - short["count"]) / done

    def idle_bytes(self, command, few=1000, many=9000):
        """User-space memory of a connection: what the server grows by between few and many."""
        clients, sizes = [], []
        with Server(command, self.server_cpu) as server:
            try:
                for count in (few, many):
                    while len(clients) < count:
                        clients.append(socket.create_connection(("127.0.0.1", server.port), 5))
                    time.sleep(0.5)  # until the last is accepted; idle means that nothing tells
                    sizes.append(resident_bytes(server.pid))
            except OSError as error:
                raise Failed(f"after {len(clients)} connections: {error}")
            finally:
                for client in clients:
                    client.close()
        return (sizes[1] - sizes[0]) / (many - few)
