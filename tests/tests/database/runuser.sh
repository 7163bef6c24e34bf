#!/bin/sh
# Stands for `runuser USER -c COMMAND` where root is the only user: PostgreSQL refuses root, so USER
# is root by another name, in a user namespace below.
user=$1
shift
exec unshare --user --map-user="$(id -u "$user")" --map-group="$(id -g "$user")" -- sh "$@"
