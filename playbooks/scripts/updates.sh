#!/bin/sh
# How many of the system's libraries were renewed within the last week, and whether a newer kernel waits for a restart.
# Reads the run's facts as JSON on standard input, writes JSON, changes nothing.
set -eu
cat >/dev/null

libraries=$(find /usr/lib /lib -name '*.so*' -type f -mtime -7 2>/dev/null | sort -u | wc -l | tr -d ' ')
running=$(cat /proc/sys/kernel/osrelease 2>/dev/null || true)
# The one installed last; in a container there is none.
newest=$(ls -t /lib/modules 2>/dev/null | head -n 1 || true)
reboot=false
[ -z "$newest" ] || [ "$newest" = "$running" ] || reboot=true

printf '{"libraries":%d,"reboot":%s}\n' "${libraries:-0}" "$reboot"
