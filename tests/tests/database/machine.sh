#!/bin/sh
# What makes a namespace of the laboratory a machine that services cannot tell from a real one: its
# own process table, host name, shared memory, process numbers and local folder. Called with the
# program and the arguments of a daemon, `PROGRAM run SETTINGS --node NAME ..`, it becomes that.
set -e
if [ -z "$MACHINE_IS_OWN" ]; then
    MACHINE_IS_OWN=1 exec unshare --mount --uts --ipc "$0" "$@"
fi
mount -t proc proc /proc
hostname "$5"
# Machines that live for long have other numbers for their processes.
case $5 in alpha) echo 10000 ;; *) echo 20000 ;; esac >/proc/sys/kernel/ns_last_pid
mount --bind DIRECTORY/of-"$5" DIRECTORY/local
mount --bind DIRECTORY/runuser /usr/sbin/runuser
exec "$@"
