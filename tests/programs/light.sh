#!/bin/sh
# A server that starts in a millisecond, for crowds: it answers `initialize` and reads on to the end of its stdin.
# For any client but one named "light" it becomes the program in its arguments, which is told the line that was read.
read -r line
case $line in *'"name": "light"'*) ;; *) exec "$@" "first=$line" ;; esac
id=${line#*'"id":'}
id=${id%%[,\}]*}
result='{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"light","version":"1"}}'
printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
while read -r line; do :; done
