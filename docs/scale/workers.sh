#!/usr/bin/env bash
# The workers of this machine, one per GPU, or one that trains on every core if there is none:
#     docs/scale/workers.sh tls://SCHEDULER:8786 THIS_HOST
set -euo pipefail

source .venv/bin/activate
METAGD_TLS=${METAGD_TLS:-$HOME/metagd-tls}
source docs/scale/tls.sh
# export METAGD_DATA_DIR=/scratch/data  # where this machine has the data, unless it is where the study file says

gpus=$(nvidia-smi --query-gpu=index --format=csv,noheader 2>/dev/null || true)
join() {
    dask worker "$1" --host "$2" --nthreads "$3" --memory-limit 0 --worker-port 9000:9009 --nanny-port 9010:9019 \
        --dashboard-address 127.0.0.1:0 --death-timeout 300 &
}
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
for gpu in $gpus; do
    CUDA_VISIBLE_DEVICES=$gpu join "$1" "$2" 1
done
if [ -z "$gpus" ]; then
    join "$1" "$2" "$(getconf _NPROCESSORS_ONLN)" # a training per core
fi
wait
