"""Real Ray nodes of this machine, started by ``ray start``, each a raylet with ports of its own."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

RAY = Path(sys.executable).with_name("ray")


class Nodes:
    """A head without CPUs and ``workers`` nodes of one CPU each; ``address`` for drivers, ``dashboard`` for jobs.

    Commands run with :meth:`run` see the cluster's token; nobody else may connect.
    """

    def __init__(self, folder, workers):
        self._folder = folder
        (folder / "token").write_text("a" * 64)
        self.environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
        self.environment |= {"RAY_USAGE_STATS_ENABLED": "0", "PATH": f"{RAY.parent}:{os.environ['PATH']}"}
        self._processes = []
        gcs, dashboard = free_ports(2)
        self.address, self.dashboard = f"127.0.0.1:{gcs}", f"http://127.0.0.1:{dashboard}"
        head = ["--head", "--port", gcs, "--dashboard-port", dashboard, "--include-dashboard", "true", "--num-cpus", 0]
        self._start(*head, "--temp-dir", f"/tmp/ray-{os.getpid()}")
        for _ in range(workers):
            self._start("--address", self.address, "--num-cpus", 1)

    def run(self, *arguments, timeout=120):
        """A finished ``prune-search`` command."""
        command = [str(RAY.with_name("prune-search")), *map(str, arguments)]
        return subprocess.run(
            command, cwd=self._folder, env=self.environment, capture_output=True, text=True, timeout=timeout
        )

    def close(self):
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def _start(self, *arguments):
        log = self._folder / f"node-{len(self._processes)}.log"
        (agent,) = free_ports(1)
        low = 21000 + 1000 * len(self._processes)
        command = [RAY, "start", "--block", "--node-ip-address", "127.0.0.1", *arguments]
        command += ["--dashboard-agent-listen-port", agent, "--min-worker-port", low, "--max-worker-port", low + 999]
        with log.open("w") as file:
            process = subprocess.Popen([*map(str, command)], env=self.environment, stdout=file, stderr=file)
        self._processes.append(process)
        deadline = time.monotonic() + 60
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


def free_ports(number):
    """Ports of this machine that nobody listens on now."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
