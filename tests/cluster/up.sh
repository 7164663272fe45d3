#!/bin/bash
# up.sh DIR [NODES]: a throw-away Slurm of one node, or of several on this machine; all that it writes lies below DIR,
# all sockets are on 127.0.0.1.
# Debian: apt-get install -y --no-install-recommends slurmctld slurmd slurm-client munge
set -euo pipefail
folder=$(realpath -m "${1:?usage: up.sh DIR}")
host=$(hostname -s)
nodes=${2:-1}
mkdir -p "$folder"/{state,spool,log,munge}
getent hosts "$host" >/dev/null || echo "127.0.0.1 $host" >>/etc/hosts

# a key and a socket of its own: nothing in /etc/munge or /run is used
[ -s "$folder/munge/key" ] || (umask 077; head -c 128 /dev/urandom >"$folder/munge/key")
chmod 755 "$folder/munge"
munged --force --socket="$folder/munge/socket" --key-file="$folder/munge/key" --log-file="$folder/munge/log" \
    --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed" --num-threads=2

cat >"$folder/slurm.conf" <<CONF
ClusterName=genae
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=17816
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$folder/munge/socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2,sched_min_interval=100000,batch_sched_delay=0,defer_batch
JobRequeue=1
KillWait=5
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs=$((4 / nodes)) Boards=1 SocketsPerBoard=1 CoresPerSocket=$((4 / nodes)) ThreadsPerCore=1 RealMemory=8000 State=UNKNOWN
$(for i in $(seq "$nodes"); do echo "NodeName=node$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((17817 + i))"; done)
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
CONF
echo "CgroupAutomount=no" >"$folder/cgroup.conf"
export SLURM_CONF=$folder/slurm.conf
slurmctld -f "$SLURM_CONF"
for i in $(seq "$nodes"); do
    mkdir -p "$folder/spool/node$i"
    slurmd -f "$SLURM_CONF" -N "node$i"
done
for _ in $(seq 100); do
    [ "$(sinfo -h -o %T 2>/dev/null)" = idle ] && exit 0
    sleep 0.1
done
echo "a node is $(sinfo -h -o %T), not idle; see $folder/log" >&2
exit 1
