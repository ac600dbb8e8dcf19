#!/usr/bin/env bash
# One training run in a Slurm allocation: Ray's head on the first node, workers on the others, the
# job on the head; everything is shut down when the job ends.
#
#   sbatch cluster/slurm.sh --config jobs/recipes/paper.yaml \
#       --shards /shared/shards --out /shared/runs/ite --cluster.num_workers 2
#
# Submit it from a checkout that every node sees under the same path, with the environment in
# .venv (or set PYTHON to its interpreter). Nodes, GPUs and time are sbatch options, which override
# the lines below. The options after the script are those of `itrec train`; its exit code is that of
# the Slurm job. Three minutes before the time limit, and on scancel, the run gets SIGTERM and shuts
# down cleanly.
#SBATCH --job-name=itrec
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-node=1
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@180
#SBATCH --output=itrec-%j.log
set -euo pipefail

fail() {
    echo "cluster/slurm.sh: $1" >&2
    exit 2
}

[[ -n ${SLURM_JOB_ID:-} ]] || fail "run it through sbatch, or salloc and bash"
# sbatch runs a copy of this file, so its path does not locate the checkout.
cd "$SLURM_SUBMIT_DIR"
[[ -f jobs/train.py ]] || fail "there is no jobs/train.py in $PWD: submit from the checkout"
python=${PYTHON:-$PWD/.venv/bin/python}
[[ -x $python ]] || fail "there is no interpreter $python: run make setup, or set PYTHON"
ray=$(dirname "$python")/ray
[[ -x $ray ]] || fail "there is no ray beside $python: run make setup, or set PYTHON"

# Several jobs may share a node, so ports, token and temporary files are per job.
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
port=$((20000 + SLURM_JOB_ID % 10000))
agent_port=$((30000 + SLURM_JOB_ID % 10000))
read -r head_ip _ < <(srun --overlap --nodes=1 --ntasks=1 --nodelist="${hosts[0]}" hostname -I)
address=$head_ip:$port
RAY_AUTH_TOKEN=$("$python" -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_TMPDIR=/tmp/itrec-$SLURM_JOB_ID
unset RAY_ADDRESS

steps=()   # the srun processes that hold the Ray nodes
running="" # what the script waits for
signalled=""

on_signal() {
    signalled=yes
    [[ -z $running ]] || kill -TERM "$running" 2>/dev/null || true
}

tear_down() {
    local step
    for step in "${steps[@]}"; do kill -TERM "$step" 2>/dev/null || true; done
    for step in "${steps[@]}"; do wait "$step" 2>/dev/null || true; done
    srun --overlap --ntasks="${#hosts[@]}" --ntasks-per-node=1 rm -rf "$RAY_TMPDIR" || true
}

trap on_signal TERM INT
trap tear_down EXIT

run_and_wait() { # COMMAND...: its exit code, also when a signal came meanwhile
    local code=0 seen
    [[ -z $signalled ]] || return 143
    "$@" &
    running=$!
    while :; do
        seen=$signalled
        code=0
        wait "$running" || code=$?
        [[ $seen != "$signalled" ]] || break # the wait was cut short by the signal: once more
    done
    running=""
    return "$code"
}

# --kill-on-bad-exit=0 and --wait=0: a lost node does not take the others down.
start_ray() { # NODES HOSTS, then the options of `ray start`
    local nodes=$1 names=$2
    shift 2
    # shellcheck disable=SC2016 # the inner shell expands it, on its node
    srun --overlap --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --nodelist="$names" \
        --kill-on-bad-exit=0 --wait=0 \
        bash -c 'mkdir -p "$RAY_TMPDIR" && exec "$@"' ray-node \
        "$ray" start --block --disable-usage-stats --num-cpus="${SLURM_CPUS_PER_TASK:-1}" \
        --dashboard-agent-listen-port="$agent_port" --min-worker-port=0 --max-worker-port=0 \
        "$@" &
    steps+=($!)
}

wait_for_head() {
    local _
    for _ in {1..240}; do
        if (exec 3<>"/dev/tcp/$head_ip/$port") 2>/dev/null; then return 0; fi
        kill -0 "${steps[0]}" 2>/dev/null || return 1
        sleep 0.5
    done
    return 1
}

start_ray 1 "${hosts[0]}" --head --node-ip-address="$head_ip" --port="$port" \
    --include-dashboard=false
run_and_wait wait_for_head || fail "Ray's head on ${hosts[0]} did not start: see above"
if ((${#hosts[@]} > 1)); then
    others=("${hosts[@]:1}")
    start_ray "${#others[@]}" "$(IFS=, && echo "${others[*]}")" --address="$address"
fi
run_and_wait "$python" cluster/wait_for_nodes.py "$address" "${#hosts[@]}" 300
run_and_wait "$python" jobs/train.py --address "$address" "$@"
