#!/usr/bin/env bash
# A study on this workstation and on others, which have the package in the same folder and let you in by SSH:
#     docs/scale/workstations.sh my_study.toml HERE OTHER...
# HERE is this workstation's name as the others know it. Stop it with Ctrl-C; the same command goes on.
set -euo pipefail

study=$1 here=$2
shift
export METAGD_TLS=$HOME/metagd-tls # made once by docs/scale/certificate.sh, then copied to the others
source .venv/bin/activate
source docs/scale/tls.sh
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT

dask scheduler --protocol tls --host "$here" --port 8786 --dashboard-address 127.0.0.1:8787 &
for host in "$@"; do
    # With a terminal of their own the workers end when the connection does.
    ssh -tt "$host" "cd '$PWD' && exec bash docs/scale/workers.sh 'tls://$here:8786' '$host'" </dev/null &
done
CUDA_VISIBLE_DEVICES="" metagd run "$study" --cluster "tls://$here:8786"
