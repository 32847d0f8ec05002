#!/bin/sh
# Entry of the public "build your own Redis" stages: builds in release, then runs the server with all arguments.
#
# The stages run one after another in one folder, which has to be the server's directory, and expect an empty server each
# time. So nothing is saved at the end, and what another program has left there is not loaded, unless the arguments say
# otherwise: stages that want to see files bring their directory with them.
set -e
here=$(cd "$(dirname "$0")" && pwd)
# From there, so that cargo finds .cargo/config.toml. Standard output is the server's.
(cd "$here" && cargo build --quiet --release --locked) >&2

saves=no loads=no
case $1 in
  # A configuration file decides for itself.
  [!-]*) saves=yes loads=yes ;;
esac
for argument in "$@"; do
  case $argument in
    --save | --save\ *) saves=yes ;;
    --dir | --dir\ * | --dbfilename | --dbfilename\ *) loads=yes ;;
  esac
done
[ "$saves" = yes ] || set -- "$@" --save ''
if [ "$loads" = no ]; then
  # Nor does the snapshot stay that a replica gets.
  set -- "$@" --rdb-del-sync-files yes
  [ ! -e dump.rdb ] || set -- "$@" --dbfilename "dump-$$.rdb"
fi
exec "$here/target/release/aeolis" "$@"
