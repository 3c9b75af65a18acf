#!/usr/bin/env bash
# Builds the program outside of tanner's workspace, and takes a backup there and back.
set -euo pipefail
cd "$(dirname "$0")"
# The versions that tanner was tested with.
cp ../../Cargo.lock Cargo.lock
cargo build --target-dir ../../target/plugin

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
export TANNER_STATE=none TANNER_JOURNAL=none
head -c 1000000 /dev/urandom >"$place/source"
tape() { ../../target/plugin/debug/tape "$@"; }
id=$(tape backup -k 4 -m 2 "$place/source" --to "tape:$place/a" --to "tape:$place/b" --to "$place/c")
rm -r "$place/a"
tape restore "$id" --from "tape:$place/b" --from "$place/c" -o "$place/restored"
cmp "$place/source" "$place/restored"
echo "restored from a tape"
