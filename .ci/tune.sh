#!/bin/sh
# A whole life of a policy on this machine: tune, freeze, apply, verify, roll back. Harmless: the
# knobs belong to a network namespace that the run makes for itself.
set -u
ktune=${1:?usage: tune.sh KTUNE}
profile=${2:-quickstart}
work=$(mktemp -d) || exit 1
export KTUNE_STATE_DIR="$work/state"
clean_up() { # whatever went wrong: nothing stays applied, and what undoes it is kept if it must be
    if "$ktune" rollback --all >/dev/null; then rm -rf "$work"; else echo "kept: $work"; fi
}
trap clean_up EXIT

say() { printf '\n== %s\n' "$*"; }

say "ktune tune $profile --keep-scope"
"$ktune" tune "$profile" --keep-scope --json > "$work/result.json"
code=$?
if [ "$code" = 4 ] && [ -z "${CI:-}" ]; then
    echo "skipped: this host lacks what the quickstart needs; the reason and the remedy stand above"
    echo "(all that works and what is missing: $ktune doctor)"
    exit 0
fi
if [ "$code" = 3 ]; then
    echo "No improvement found: the proof did not come together, so nothing is promoted. That is an"
    echo "honest result, not a failure; on a very busy machine it can happen here too."
    exit 0
fi
[ "$code" = 0 ] || exit "$code"
field() { sed -n "s/^ *\"$1\": \"\\(.*\\)\",\\{0,1\\}\$/\\1/p" "$work/result.json"; }
study=$(field study)
netns=$(field netns)
"$ktune" report "$study" || exit

say "ktune freeze $study"
"$ktune" freeze "$study" -o "$work/policy.yaml" && cat "$work/policy.yaml" || exit

say "ktune apply policy.yaml --netns $netns"
"$ktune" apply "$work/policy.yaml" --netns "$netns" --yes || exit

say "ktune verify"
"$ktune" verify || exit

say "ktune rollback --all"
"$ktune" rollback --all || exit

say "ktune status"
"$ktune" status || exit

say "That was the whole life of a policy; nothing of it is left."
echo "What it found and why: docs/quickstart.md. Your own workload: README.md, Write a profile."
echo "The command is $ktune; what this host can do: $ktune doctor"
