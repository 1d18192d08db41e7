#!/bin/sh
# What a person would look at first, kept as evidence. The alert and the target come as JSON on standard input.
set -eu
input=$(cat)
printf '{"seen": %s, "load": "%s"}\n' "${#input}" "$(cut -d ' ' -f 1-3 /proc/loadavg)"
