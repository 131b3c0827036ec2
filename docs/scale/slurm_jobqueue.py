"""A study on Slurm from a Python that stays alive, such as a small job of its own: workers are jobs that come and go.

pip install dask-jobqueue; python docs/scale/slurm_jobqueue.py my_study.toml
"""

import sys
from pathlib import Path

from dask_jobqueue import SLURMCluster
from distributed import Client, Security

from metagd_optuna import run_study

TLS = Path.home() / "metagd-tls"  # made once by docs/scale/certificate.sh
CERT, KEY = str(TLS / "cert.pem"), str(TLS / "key.pem")

if __name__ == "__main__":
    security = Security(
        require_encryption=True,
        tls_ca_file=CERT,
        tls_scheduler_cert=CERT,
        tls_scheduler_key=KEY,
        tls_worker_cert=CERT,
        tls_worker_key=KEY,
        tls_client_cert=CERT,
        tls_client_key=KEY,
    )
    with SLURMCluster(
        queue="gpu",
        cores=1,  # threads of a worker; the cores that Slurm gives it are job_cpu
        processes=1,
        job_cpu=4,
        memory="16 GB",
        walltime="04:00:00",
        job_extra_directives=["--gpus-per-task=1", "--requeue"],
        worker_extra_args=["--lifetime", "225m", "--lifetime-stagger", "10m", "--dashboard-address", "127.0.0.1:0"],
        local_directory="$TMPDIR",
        protocol="tls",
        security=security,
        scheduler_options={"dashboard_address": "127.0.0.1:8787"},
    ) as cluster:
        cluster.adapt(minimum_jobs=1, maximum_jobs=8, wait_count=60)
        with Client(cluster) as client:
            run_study(sys.argv[1], client=client)
