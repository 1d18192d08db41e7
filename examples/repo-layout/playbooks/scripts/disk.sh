#!/bin/sh
# How full the disk is that this runs on. Reads the run's facts as JSON on standard input, writes JSON, changes nothing.
set -eu
cat >/dev/null

# POSIX's own format: file system, blocks, used, available, capacity, mounted on.
line=$(df -Pk . | tail -n 1)
used=$(printf '%s' "$line" | sed -n 's/.* \([0-9][0-9]*\)% .*/\1/p')
free_kib=$(printf '%s' "$line" | sed -n 's/.* \([0-9][0-9]*\) *[0-9][0-9]*% .*/\1/p')

printf '{"usedPercent":%d,"freeMiB":%d}\n' "${used:-0}" "$((${free_kib:-0} / 1024))"
