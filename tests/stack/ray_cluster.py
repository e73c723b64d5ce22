"""The door and the autoscaled workers on a Ray cluster of three nodes, all on this machine:
``python -m tests.stack.ray_cluster PORT REPLICAS WORKERS``.

The head node has no place for a worker; each of the two others has one for all of them. The
process prints the pids of those two nodes' raylets, serves until SIGTERM, and ends with its nodes.
"""

import os
import sys
import tempfile
from pathlib import Path

from service.ray_serve.private_ray import OBJECT_STORE_BYTES, exit_now, stop_event
from service.ray_serve.settings import private_environment

NODES = 2


def main() -> int:
    """Run the cluster until SIGTERM."""
    port, replicas, workers = (int(word) for word in sys.argv[1:4])
    with tempfile.TemporaryDirectory(prefix="sfumato-", dir="/tmp") as folder:
        Path(folder, "ray").mkdir()
        os.environ.update(private_environment(Path(folder)), RAY_TMPDIR=folder)
        # A lost node is one whose checks fail: shorter than Ray's 15 s, for the test's sake.
        os.environ.update(RAY_health_check_period_ms="1000", RAY_health_check_failure_threshold="3")
        _serve(port, replicas, workers)
    return 0


def _serve(port: int, replicas: int, workers: int) -> None:
    from ray import serve
    from ray.cluster_utils import Cluster

    from service.ray_serve import deployment, worker_deployment

    common = {
        "object_store_memory": OBJECT_STORE_BYTES, "node_ip_address": "127.0.0.1",
        "include_dashboard": False,
    }  # fmt: skip
    cluster = Cluster(initialize_head=True, head_node_args=common | {"num_cpus": 0})
    nodes = [cluster.add_node(**common, num_cpus=workers) for _ in range(NODES)]
    try:
        cluster.connect(namespace="serve")
        http = {"host": "127.0.0.1", "port": port}
        serve.start(proxy_location="HeadOnly", http_options=http)
        serve.run(deployment.app({"replicas": replicas}), name=deployment.NAME, route_prefix="/")
        scaled = worker_deployment.app({"ray_min_workers": workers, "ray_max_workers": workers})
        serve.run(scaled, name=worker_deployment.NAME, route_prefix=None)
        stopping = stop_event()
        pids = [node.all_processes["raylet"][0].process.pid for node in nodes]
        print("nodes", *pids, flush=True)
        stopping.wait()
        serve.shutdown()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    exit_now(main())
