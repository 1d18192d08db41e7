#!/bin/sh
# Packs the folder it stands in, as a backup would, and says what it packed. Copy it and name what is yours to keep.
# Reads the run's facts as JSON on standard input, writes JSON. Writes nowhere but to its own temporary folder.
set -eu
cat >/dev/null

here=$(dirname "$0")
pack="${TMPDIR:-/tmp}/pack-$$.tar"
trap 'rm -f "$pack"' EXIT

tar -cf "$pack" -C "$here" .
files=$(tar -tf "$pack" | grep -vc '/$')
bytes=$(wc -c <"$pack" | tr -d ' ')
sum=$(sha256sum "$pack" | cut -d ' ' -f 1)

printf '{"files":%d,"bytes":%d,"sha256":"%s"}\n' "$files" "$bytes" "$sum"
