# shellcheck shell=bash
# What the scripts share. Sourced, never run.

# Started without stdin: the next file opened would become it.
[[ -e /dev/fd/0 ]] || exec </dev/null

# Says something to a person. Never on stdout, which belongs to the command that runs.
say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "${0##*/}: $*"
    exit 1
}

# apt_install PACKAGE...: 1 where we may not install or cannot (not root, no apt-get, no network).
apt_install() {
    [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null || return 1
    local -x DEBIAN_FRONTEND=noninteractive
    local -a quietly=(apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0)
    say "installing with apt-get: $*"
    {
        # A stale third source is no reason to give up: the install tells whether it matters.
        "${quietly[@]}" update || say "apt-get update failed; trying with the lists that are there"
        "${quietly[@]}" install --yes --no-install-recommends "$@"
    } </dev/null >&2
}

# The name of the signal that ended `supervise`, empty if none did.
received=

# supervise PATIENCE_SECONDS COMMAND...: runs COMMAND and returns its exit code, as the shell does, but passes
# INT, TERM, HUP and QUIT on at once. (The shell by itself would wait for COMMAND to end before it noticed.)
# COMMAND has a process group of its own, so that what it started gets the signal too. When COMMAND has
# ended, or after PATIENCE_SECONDS, the rest of the group is killed.
#
# On a terminal the command stays in the foreground, for `psql` and the like: Ctrl-C reaches it there anyway.
supervise() {
    local patience_seconds=$1 child status=0 signal deadline
    shift
    if [[ -t 0 ]]; then
        trap : INT QUIT
        "$@" || status=$?
        return "$status"
    fi

    child=
    for signal in INT TERM HUP QUIT; do
        # shellcheck disable=SC2064 # the signal's name is meant to be filled in now
        trap "received=$signal; signal_group" "$signal"
    done
    set -m
    "$@" <&0 &
    child=$!
    set +m
    signal_group # one that came before `child` was known
    while [[ -z $received ]] && kill -0 "$child" 2>/dev/null; do
        wait "$child" || :
    done
    if [[ -n $received ]]; then
        deadline=$((SECONDS + patience_seconds))
        while kill -0 "$child" 2>/dev/null && ((SECONDS < deadline)); do
            sleep 0.05
        done
        sleep 0.2
        kill -s KILL -- "-$child" 2>/dev/null || :
    fi
    wait "$child" 2>/dev/null || status=$?
    return "$status"
}

# For the traps of `supervise`, whose `child` it sees.
signal_group() {
    if [[ -n $received && -n ${child-} ]]; then
        kill -s "$received" -- "-$child" 2>/dev/null || :
    fi
}
