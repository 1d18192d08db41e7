#!/bin/sh
# How many days the alert says a certificate still has: its label `days`, a whole number.
# Reads the run's facts as JSON on standard input, writes JSON, changes nothing.
set -eu

days=$(tr -d '\n' | sed -n 's/.*"days":"\([0-9]\{1,4\}\)".*/\1/p')
if [ -z "$days" ]; then
    echo "the alert has no label \`days\` with a whole number: add it to the rule" >&2
    exit 1
fi
printf '{"days":%s}\n' "$days"
