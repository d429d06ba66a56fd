#!/usr/bin/env bash
# A build as a Slurm array, one GPU for each task:
#
#   sbatch docker/slurm.sh MANIFEST -o DATASET [OPTIONS OF build-dataset]
#   sbatch --array=0-31 --partition=gpu docker/slurm.sh s3://bucket/photos/manifest.parquet -o s3://bucket/dataset
#
# Runs the noisegen that PATH finds, or with NOISEGEN_IMAGE=noisegen.sif the one in an Apptainer image.
# See docs/scaling/slurm.md.

#SBATCH --job-name=noisegen
#SBATCH --array=0-7
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@60
#SBATCH --output=noisegen-%A_%a.log

set -uo pipefail

most_retries=3
out_of_time=
signalled=

# Shards for a URL are made on the node's own disk, each task in a folder of its own.
staging=$(mktemp -d "${TMPDIR:-/tmp}/noisegen.XXXXXX") || exit 1
trap 'rm -rf "$staging"' EXIT

noisegen=(noisegen)
if [[ -n ${NOISEGEN_IMAGE:-} ]]; then
    noisegen=(apptainer exec --nv --bind "$staging" "$NOISEGEN_IMAGE" noisegen)
fi

# srun takes no --cpus-per-task from sbatch. It passes SIGTERM on to its task.
srun --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${noisegen[@]}" build-dataset --staging "$staging" "$@" &
build=$!
trap 'signalled=yes; kill -TERM "$build"' TERM
trap 'signalled=yes; out_of_time=yes; kill -TERM "$build"' USR1

wait "$build"
code=$?
while [[ -n $signalled ]]; do # it was the signal that ended `wait`
    signalled=
    wait "$build"
    code=$?
done

requeue() {
    echo "noisegen: $1; the task is queued again" >&2
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
}

case $code in
    0 | 2 | 3) ;; # done, a request that would fail again, done with recorded failures
    130 | 143) [[ -z $out_of_time ]] || requeue "out of time" ;; # cancelled, or queued again by Slurm
    *) ((${SLURM_RESTART_COUNT:-0} >= most_retries)) || requeue "crashed with exit code $code" ;;
esac
exit "$code"
