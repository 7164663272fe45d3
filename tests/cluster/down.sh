#!/bin/bash
# down.sh DIR: cancels all jobs of the cluster in DIR and stops its daemons.
folder=$(realpath -m "${1:?usage: down.sh DIR}")
export SLURM_CONF=$folder/slurm.conf
[ -s "$SLURM_CONF" ] || exit 0
scancel -u "$(id -un)"
for _ in $(seq 100); do
    [ -z "$(squeue -h)" ] && break
    sleep 0.1
done
daemons="$(cat "$folder/slurmctld.pid" "$folder"/slurmd-*.pid "$folder/munge/pid" 2>/dev/null)"
kill $daemons 2>/dev/null
for _ in $(seq 100); do
    kill -0 $daemons 2>/dev/null || exit 0
    sleep 0.1
done
kill -9 $daemons 2>/dev/null
true
