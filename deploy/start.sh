#!/bin/sh
# Starts roost with secrets from files in its environment: one file for each variable, named like it (ROOST_STORE,
# OPENAI_API_KEY). The folder is $ROOST_SECRETS, else systemd's $CREDENTIALS_DIRECTORY, else /run/secrets. A variable
# that is set already stays as it is. The daemon blanks secrets where other processes could read them.
set -eu
folder=${ROOST_SECRETS:-${CREDENTIALS_DIRECTORY:-/run/secrets}}
for file in "$folder"/[A-Z]*; do
    name=${file##*/}
    case $name in *[!A-Z0-9_]*) continue ;; esac
    [ -f "$file" ] || continue
    eval "given=\${$name+yes}"
    [ -z "$given" ] || continue
    value=$(cat "$file")
    export "$name=$value"
done
exec roost "$@"
