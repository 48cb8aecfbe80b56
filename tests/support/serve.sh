# shellcheck shell=bash
# To be sourced: a server for the rest of a script.

# serve PROGRAM DIRECTORY [FLAG...]: starts it on a free port, with its data and logs below the directory; `address` is where.
# With an empty environment, since variables of the tests are unknown options to the server.
serve() {
    env -i "$1" --port 0 --data-dir "$2/data" "${@:3}" >"$2/stdout" 2>"$2/stderr" &
    server=$!
    trap 'kill "$server"; wait "$server" || true' EXIT
    local i
    for ((i = 0; i < 100; ++i)); do
        grep -qs '^listening on' "$2/stdout" && break
        sleep 0.1
    done
    address=$(sed -n 's|^listening on http://||p' "$2/stdout")
    [[ -n $address ]] || { cat "$2/stderr"; exit 1; }
    export no_proxy=127.0.0.1
}
