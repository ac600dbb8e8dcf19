"""Wait until a Ray cluster has the expected number of nodes; used by the launch scripts here.

python cluster/wait_for_nodes.py ADDRESS NODES SECONDS
"""

import sys
import time

import ray


def main(address: str, nodes: int, seconds: float) -> int:
    """Return the exit code: 0 if `nodes` are alive within `seconds`, 1 if fewer are.

    Run it on a machine of the cluster: it joins as a driver.
    """
    deadline = time.monotonic() + seconds
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        print(f"no Ray cluster answers at {address}: {reason}", file=sys.stderr)
        return 1
    while (alive := sum(node["Alive"] for node in ray.nodes())) < nodes:
        if time.monotonic() > deadline:
            print(f"{alive} of {nodes} Ray nodes came within {seconds:g} s", file=sys.stderr)
            return 1
        time.sleep(0.5)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
