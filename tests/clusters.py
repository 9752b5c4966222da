"""Redis with Sentinels, and Redis Clusters, of the tests' own."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import redis

from tests.processes import Process, RedisServer, free_port, need, redis_server, running


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while True:
        with contextlib.suppress(redis.RedisError, OSError, IndexError, KeyError):
            if condition():
                return
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@dataclass
class Watched:
    """A primary, its replica, and the Sentinels that watch them."""

    primary: RedisServer
    replica: RedisServer
    sentinels: list[int]

    def url(self, database: int = 0) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinels)
        return f"redis+sentinel://{hosts}/site/{database}"


@contextlib.contextmanager
def sentinel_servers() -> Iterator[Watched]:
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(redis_server())
        replica = stack.enter_context(redis_server("--replicaof", f"127.0.0.1 {primary.port}"))
        ports = [free_port() for _ in range(3)]
        for port in ports:
            folder = Path(stack.enter_context(TemporaryDirectory()))
            (folder / "sentinel.conf").write_text(
                f"port {port}\nbind 127.0.0.1\nsentinel monitor site 127.0.0.1 {primary.port} 2\n"
                "sentinel down-after-milliseconds site 500\nsentinel failover-timeout site 3000\n"
            )
            command = [need("redis-server"), str(folder / "sentinel.conf"), "--sentinel"]
            stack.enter_context(running(command, port, cwd=folder))
        for port in ports:
            client = stack.enter_context(redis.Redis(port=port))
            wait_until(
                lambda client=client: (
                    (state := client.sentinel_master("site"))["num-slaves"] == 1 and state["num-other-sentinels"] == 2
                )
            )
        yield Watched(primary, replica, ports)


@dataclass
class Cluster:
    """The nodes of a cluster: three primaries, then their replicas."""

    ports: list[int]
    processes: list[Process]

    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports[:2])


@contextlib.contextmanager
def cluster_servers(replicas: int = 1) -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        servers = []
        for _ in range(3 + 3 * replicas):
            bus = str(free_port())
            options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", bus]
            servers.append(stack.enter_context(redis_server(*options, "--databases", "1")))
        ports = [server.port for server in servers]
        clients = [stack.enter_context(redis.Redis(port=port)) for port in ports]
        for number, client in enumerate(clients[:3]):
            client.execute_command(
                "CLUSTER", "ADDSLOTSRANGE", number * 5461, 16383 if number == 2 else number * 5461 + 5460
            )
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in ports[1:]:
            bus = servers[ports.index(port)].process.popen.args[-3]
            clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
        wait_until(lambda: all(len(client.execute_command("CLUSTER NODES")) == len(ports) for client in clients))
        for number, client in enumerate(clients[3:]):
            client.execute_command("CLUSTER", "REPLICATE", clients[number % 3].execute_command("CLUSTER", "MYID"))
        wait_until(lambda: all(client.execute_command("CLUSTER INFO")["cluster_state"] == "ok" for client in clients))
        if replicas:
            wait_until(lambda: all(client.info()["connected_slaves"] == replicas for client in clients[:3]))
        yield Cluster(ports, [server.process for server in servers])
