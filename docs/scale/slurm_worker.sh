#!/usr/bin/env bash
#SBATCH --job-name=metagd-worker
#SBATCH --array=1-8
#SBATCH --partition=preemptible
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%a.log
# More workers for a study that is running, one job each: they join when Slurm has a GPU, and may leave at any time.
#     sbatch docs/scale/slurm_worker.sh scheduler-1234.json
set -euo pipefail

source .venv/bin/activate
METAGD_TLS=$HOME/metagd-tls
source docs/scale/tls.sh

# A worker that says goodbye before its time is over counts as no failure of what it was training.
exec srun dask worker --scheduler-file "$1" --nthreads 1 --memory-limit 0 --dashboard-address 127.0.0.1:0 \
    --lifetime 225m --lifetime-stagger 10m --death-timeout 300 --local-directory "${TMPDIR:-/tmp}"
