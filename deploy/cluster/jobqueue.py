"""A Dask cluster whose workers are jobs of Slurm, for `ifcb-flow days --dask` (pip install dask-jobqueue).

Start it where compute nodes can reach it, and leave it running: python deploy/cluster/jobqueue.py. See docs/cluster.md.
"""

import time

from dask_jobqueue import SLURMCluster

if __name__ == "__main__":
    cluster = SLURMCluster(
        cores=2,
        processes=2,
        memory="4GB",
        walltime="04:00:00",
        job_script_prologue=["export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1"],
        # A worker ends before its job does, so that its days are handed on in time.
        worker_extra_args=["--lifetime", "235m", "--lifetime-stagger", "4m"],
    )
    cluster.adapt(minimum_jobs=1, maximum_jobs=20)
    print(f"ifcb-flow days FIRST LAST --dask {cluster.scheduler_address}", flush=True)  # noqa: T201
    while True:
        time.sleep(3600)
