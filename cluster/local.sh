#!/usr/bin/env bash
# Several Ray nodes on this machine, to try out a cluster before paying for one.
#
#   cluster/local.sh start [NODES]   start them (default 2) and print how to submit to them
#   cluster/local.sh status          print Ray's status
#   cluster/local.sh stop            end the processes that `start` started, and no others
#
# PYTHON             the interpreter of nodes and jobs (.venv/bin/python if there, else python3)
# CPUS_PER_NODE      CPUs that a node offers (default 2); the nodes share those of the machine
# ITREC_CLUSTER_DIR  token, addresses, process ids, logs (/tmp/itrec-cluster-UID); also Ray's
#                    sockets, so its path must be short: 40 characters at most
#
# The nodes offer no GPU, because each would claim the same one.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
state=${ITREC_CLUSTER_DIR:-/tmp/itrec-cluster-$UID}
cpus=${CPUS_PER_NODE:-2}
object_store_bytes=300000000 # a node's default is a third of the machine's memory: too much for N
stop_seconds=30

fail() {
    echo "cluster/local.sh: $1" >&2
    exit "${2:-2}"
}

find_python() {
    local python=${PYTHON:-}
    if [[ -z $python ]]; then
        if [[ -x $root/.venv/bin/python ]]; then python=$root/.venv/bin/python; else python=python3; fi
    fi
    python=$(command -v "$python") || fail "there is no ${PYTHON:-python3}: name another with PYTHON"
    bin=$(cd "$(dirname "$python")" && pwd)
    [[ -x $bin/ray ]] || fail "no ray beside $python: run make setup, or name another with PYTHON"
    python=$bin/$(basename "$python")
    export PATH=$bin:$PATH # a job's `python` is then the one of the nodes
}

own_address() { # the address by which Ray knows this machine: it refuses to be told 127.0.0.1
    "$bin/python" -c 'from ray.util import get_node_ip_address as ip; print(ip())'
}

free_ports() { # COUNT
    "$bin/python" - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("", 0))
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

started_at() { # PID -> when it began, which tells it from a later process of that number; a zombie
    # has ended, whether or not anybody collects it
    ps -o stat= -o lstart= -p "$1" 2>/dev/null |
        awk '$1 !~ /^Z/ { print $2, $3, $4, $5, $6 }' || true
}

family() { # PID -> it, its process group, and all below them
    ps -e -o pid= -o ppid= -o pgid= | awk -v root="$1" '
        { parent[$1] = $2; if ($1 == root || $3 == root) member[$1] = 1 }
        END {
            do {
                grown = 0
                for (p in parent) if (!(p in member) && parent[p] in member) { member[p] = 1; grown = 1 }
            } while (grown)
            for (p in member) print p
        }'
}

start_node() { # NAME, then what `ray start` is told of this node alone
    local name=$1 pid agent_port
    shift
    agent_port=$(free_ports 1)
    set -m # a process group of its own: Ctrl-C in this terminal is not for it
    nohup ray start --block --disable-usage-stats \
        --num-cpus "$cpus" --num-gpus 0 --object-store-memory "$object_store_bytes" \
        --dashboard-agent-listen-port "$agent_port" --min-worker-port 0 --max-worker-port 0 \
        "$@" >"$state/$name.log" 2>&1 </dev/null &
    pid=$!
    set +m
    disown "$pid"
    echo "$pid $(started_at "$pid")" >>"$state/nodes"
}

wait_until_head_answers() { # IP PORT
    local pid _
    read -r pid _ <"$state/nodes"
    for _ in {1..240}; do
        if (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; then return 0; fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    return 1
}

give_up() { # REASON, with the logs, which stop removes
    tail -n 8 "$state"/*.log >&2
    fail "$1" 1
}

start() {
    local nodes=${1:-2} ip port dashboard_port node
    [[ $nodes =~ ^[1-9][0-9]?$ ]] || fail "NODES is a number from 1 to 99, not '$nodes'"
    [[ $cpus =~ ^[1-9][0-9]*$ ]] || fail "CPUS_PER_NODE is a whole number from 1, not '$cpus'"
    ((${#state} <= 40)) || fail "ITREC_CLUSTER_DIR is longer than 40 characters: $state"
    [[ $state == /* ]] || fail "ITREC_CLUSTER_DIR is not an absolute path: $state"
    find_python
    [[ ! -e $state/nodes ]] || fail "a cluster of $state is there already: end it with stop"
    (umask 077 && mkdir -p "$state")
    [[ -O $state ]] || fail "$state belongs to somebody else: set ITREC_CLUSTER_DIR"
    (umask 077 && "$bin/python" -c 'import secrets; print(secrets.token_hex(32))' >"$state/token")
    ip=$(own_address)
    read -r port dashboard_port <<<"$(free_ports 2)"
    cat >"$state/env" <<ENV
export RAY_ADDRESS=$ip:$port
export RAY_API_SERVER_ADDRESS=http://127.0.0.1:$dashboard_port
export RAY_AUTH_MODE=token
export RAY_AUTH_TOKEN_PATH=$state/token
ENV
    load_environment
    : >"$state/nodes"
    trap 'stop' EXIT # nothing half-started stays behind
    trap 'exit 130' INT TERM
    (unset RAY_ADDRESS && start_node head --head --port "$port" \
        --dashboard-host 127.0.0.1 --dashboard-port "$dashboard_port")
    wait_until_head_answers "$ip" "$port" || give_up "the head node did not start"
    for ((node = 1; node < nodes; node++)); do
        # A folder of its own: in a shared one, a node that unpacks a job's files deletes those that
        # the job is being run from on another (overwrite=True in ray/_private/runtime_env/working_dir.py).
        (unset RAY_ADDRESS && start_node "worker-$node" --address "$ip:$port" --temp-dir "$state/$node")
    done
    "$bin/python" "$root/cluster/wait_for_nodes.py" "$ip:$port" "$nodes" 120 ||
        give_up "not every node started"
    trap - EXIT INT TERM
    cat <<TEXT
$nodes Ray nodes of $cpus CPUs; dashboard: http://127.0.0.1:$dashboard_port
Submit to them, from $root:

    . $state/env
    $bin/ray job submit --working-dir . -- python jobs/train.py --help

and end them: cluster/local.sh stop
TEXT
}

load_environment() {
    # shellcheck source=/dev/null
    . "$state/env"
    export RAY_TMPDIR=$state/ray
    export RAY_JOB_STOP_WAIT_TIME_S=30 # Ray's 3 seconds are short for a run that ends in order
    export RAY_worker_niceness=0       # Ray's 15 would put the workers behind all else on the machine
    mkdir -p "$RAY_TMPDIR"
}

status() {
    [[ -s $state/nodes ]] || fail "no cluster of $state: begin one with start"
    find_python
    load_environment
    exec "$bin/ray" status
}

stop() {
    [[ -e $state/nodes ]] || fail "no cluster of $state: there is nothing to stop"
    local pid since member
    local -a members=()
    : >"$state/members"
    while read -r pid since; do
        [[ $(started_at "$pid") == "$since" ]] || continue # it ended, and the number is another's
        for member in $(family "$pid"); do
            echo "$member $(started_at "$member")" >>"$state/members"
        done
        kill -TERM "$pid" 2>/dev/null || true
    done <"$state/nodes"
    mapfile -t members <"$state/members"
    end_lingering_actors
    wait_for_end $((stop_seconds * 2)) || {
        for member in "${members[@]}"; do
            read -r pid since <<<"$member"
            if [[ -n $since && $(started_at "$pid") == "$since" ]]; then
                kill -KILL "$pid" 2>/dev/null || true
            fi
        done
        wait_for_end 20 || fail "processes that would not end: $(tr '\n' ';' <"$state/members")" 1
    }
    rm -rf "$state"
    echo "stopped"
}

end_lingering_actors() { # those that Ray Data leaves to a cluster hold its nodes back for 30 seconds
    local ids
    ids=$(cut -d ' ' -f 1 "$state/members" | paste -sd ,)
    [[ -z $ids ]] || ps -o pid=,args= -p "$ids" | awk '$2 ~ /^ray::_/ { print $1 }' |
        xargs -r kill -TERM 2>/dev/null || true
}

wait_for_end() { # HALF-SECONDS: whether everything in `members` ended within them
    local tick pid since alive
    for ((tick = 0; tick < $1; tick++)); do
        alive=
        while read -r pid since; do
            [[ -n $since && $(started_at "$pid") == "$since" ]] && alive=yes
        done <"$state/members"
        [[ -z $alive ]] && return 0
        sleep 0.5
    done
    return 1
}

case ${1:-} in
    start) start "${2:-2}" ;;
    status) status ;;
    stop) stop ;;
    *) fail "say what: start [NODES], status or stop" ;;
esac
