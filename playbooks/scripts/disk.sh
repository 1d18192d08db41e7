#!/bin/sh
# How full the disk is that the alert names by its label `mountpoint`, as Prometheus's node exporter does; without one, the
# disk that this runs on. Reads the run's facts as JSON on standard input, writes JSON, changes nothing.
set -eu
facts=$(cat)
mount=$(printf '%s' "$facts" | tr '\n' ' ' | sed -n 's/.*"mountpoint": *"\(\/[^"\\]*\)".*/\1/p')

# POSIX's own format: file system, blocks, used, available, capacity, mounted on.
line=$(df -Pk -- "${mount:-.}" | tail -n 1)
used=$(printf '%s' "$line" | sed -n 's/.* \([0-9][0-9]*\)% .*/\1/p')
free_kib=$(printf '%s' "$line" | sed -n 's/.* \([0-9][0-9]*\)  *[0-9][0-9]*% .*/\1/p')

printf '{"usedPercent":%d,"freeMiB":%d}\n' "${used:-0}" "$((${free_kib:-0} / 1024))"
