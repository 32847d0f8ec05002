#!/bin/sh
# Entry of the public "build your own Redis" stages: builds in release, then runs the server with all arguments.
#
# The stages run one after another in one folder, end the server with SIGTERM, and expect an empty one each time: unless
# a directory is given, the server works in a fresh one.
set -e
here=$(cd "$(dirname "$0")" && pwd)
# From there, so that cargo finds .cargo/config.toml.
(cd "$here" && cargo build --quiet --release --locked)
for argument in "$@"; do
  if [ "$argument" = --dir ]; then
    exec "$here/target/release/aeolis" "$@"
  fi
done
exec "$here/target/release/aeolis" "$@" --dir "$(mktemp -d)"
