#!/bin/sh
# What the machine looks like while the alert fires: evidence for whoever is called, and numbers for later steps.
# Reads the run's facts as JSON on standard input, writes JSON, changes nothing. Needs nothing but a POSIX shell.
set -eu

facts=$(cat)
# The value of the first "name" that stands in "target": enough where there is no JSON reader.
target=$(printf '%s' "$facts" | tr -d '\n' | sed -n 's/.*"target":{[^}]*"name":"\([a-z0-9-]*\)".*/\1/p')

load=$(cut -d ' ' -f 1 /proc/loadavg 2>/dev/null || echo 0)
free_kib=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB$/\1/p' /proc/meminfo 2>/dev/null || true)

printf '{"target":"%s","load":%s,"memoryFreeMiB":%d}\n' "$target" "${load:-0}" "$((${free_kib:-0} / 1024))"
