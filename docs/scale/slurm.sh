#!/usr/bin/env bash
#SBATCH --job-name=metagd
#SBATCH --dependency=singleton
#SBATCH --partition=gpu
#SBATCH --ntasks=8
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=4G
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x.log
# One study on eight GPUs, on as many nodes as Slurm takes for them:
#     sbatch --job-name=my_study docs/scale/slurm.sh my_study.toml
# Two minutes before the end of its time the job hands back and queues itself again. One that is preempted hands back,
# and is queued again by Slurm. Only one job of a name runs at a time.
set -euo pipefail

study=$1
source .venv/bin/activate
METAGD_TLS=$HOME/metagd-tls # made once by docs/scale/certificate.sh; other users reach every port of a node
source docs/scale/tls.sh

# Every node sees the folder of the job, so the file tells the workers where the scheduler is.
address=$PWD/scheduler-$SLURM_JOB_ID.json
rm -f "$address" # of the time before the job was queued again
dask scheduler --protocol tls --scheduler-file "$address" --dashboard-address 127.0.0.1:8787 &
scheduler=$!

# Slurm and not Dask watches over memory: Dask would pause a worker that holds much, in the middle of a training.
srun --kill-on-bad-exit=0 dask worker --scheduler-file "$address" --nthreads 1 --memory-limit 0 \
    --dashboard-address 127.0.0.1:0 --death-timeout 300 --local-directory "${TMPDIR:-/tmp}" &
workers=$!

until [ -s "$address" ]; do
    kill -0 "$scheduler"
    sleep 1
done
stopped="" coordinator=""
trap 'stopped=preempted; kill -TERM $coordinator || true' TERM # or cancelled
trap 'stopped=time; kill -TERM $coordinator || true' USR1
# The coordinator trains nothing, so it leaves all GPUs of its node to the workers.
CUDA_VISIBLE_DEVICES="" metagd run "$study" --cluster "$address" &
coordinator=$!
status=0
wait "$coordinator" || status=$?
while kill -0 "$coordinator" 2>/dev/null; do # a signal ends bash's wait, not the coordinator
    status=0
    wait "$coordinator" || status=$?
done
for part in "$workers" "$scheduler"; do # in this order, so that workers can say goodbye
    kill "$part" 2>/dev/null || true
    wait "$part" || true
done
rm -f "$address"
if [ "$status" -ne 0 ] && [ "$stopped" = time ]; then
    scontrol requeue "$SLURM_JOB_ID"
elif [ "$status" -ne 0 ] && [ "$stopped" = preempted ]; then
    sleep 600 # a job that ended by itself would not be queued again
fi
exit "$status"
