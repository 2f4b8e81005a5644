# What the boots of these tests ask and say. The first thing that is not so ends the boot's command, with
# what the units and ktune have to say about it.
set -eu
KNOB=/proc/sys/vm/stat_interval
POLICY=/root/policy.yaml
told() {
    code=$?
    [ $code = 0 ] && return
    echo "--- exit code $code. The units:"
    systemctl --no-pager -l status 'ktune-*' || :
    journalctl -b --no-pager -o short-monotonic -u 'ktune-*' -u systemd-sysctl | tail -n 60
    ktune status || :
}
trap told EXIT
not_so() { echo "NOT SO: $*"; exit 90; }
same() { [ "$2" = "$3" ] || not_so "$1 is '$2', not '$3'"; } # WHAT FOUND WANTED
live() { same "the knob" "$(cat $KNOB)" "$1"; }
is_live() { [ "$(cat $KNOB)" = "$1" ]; }
in_force() { until_so "the policy is in force" is_live 9; } # a watch may be in a baseline window
of() { systemctl show -P "$2" "$1.service"; } # UNIT PROPERTY
unit() { same "$1: $2" "$(of "$1" "$2")" "$3"; } # UNIT PROPERTY WANTED
until_so() { # WHAT COMMAND...
    what=$1 left=${PATIENCE:-600}
    shift
    until "$@"; do
        left=$((left - 1))
        [ $left -gt 0 ] || not_so "never: $what"
        sleep 1
    done
}
says() { journalctl -b --no-pager -o cat -u "$1" | grep -q -e "$2"; } # UNIT PATTERN
is() { [ "$(of "$1" "$2")" = "$3" ]; } # UNIT PROPERTY WANTED
exits() { # CODE COMMAND...
    wanted=$1 code=0
    shift
    "$@" || code=$?
    same "exit code of $*" "$code" "$wanted"
}
