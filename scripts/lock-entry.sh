#!/bin/sh
# Prints one package's entry of a lock, with its hashes, so that pip can install that package alone.
# Used before uv is there to read the lock: by setup.sh and by the image.
# usage: lock-entry.sh PACKAGE LOCK
set -eu

package=$1
lock=$2
entry=$(awk -v head="$package==" 'index($0, head) == 1 { on = 1 } on { print } on && !/\\$/ { exit }' "$lock")
if [ -z "$entry" ]; then
    echo "lock-entry: $lock has no entry for $package; run 'make lock' in a checkout that has one." >&2
    exit 1
fi
printf '%s\n' "$entry"
