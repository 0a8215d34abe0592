#!/bin/sh
# Makes the passwords of compose.yaml, each 192 random bits, in a folder: once, for they must not change while there
# is a database that knows them.
#
#   secrets.sh FOLDER
set -eu
cd "$1"
[ -e complete ] && exit

random() {
    od -A n -N 24 -t x1 /dev/urandom | tr -d ' \n'
}

database=$(random)
redis=$(random)
printf '%s' "$database" >postgres_password
printf '%s' "postgres://switchboard:$database@postgres:5432/switchboard" >database_url
printf '%s' "redis://:$redis@redis:6379/0" >redis_url
printf '%s\n' "requirepass $redis" "appendonly yes" "maxmemory-policy noeviction" >redis.conf
random >secret_key
touch complete
