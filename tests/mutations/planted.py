"""Bugs that must never come back, as patches of the source, and the tests that catch each.

A mutation replaces `old` by `new` in a copy of the package. `kills` must fail by an assertion;
`survivors` must still pass, so that a copy that is merely broken does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

BEHAVIOUR = "tests/proxy/test_behaviour.py::"
MODEL = "tests/proxy/test_restore_properties.py::"
FAULTS = "tests/faults/test_guardian_faults.py::"
TUNABLE = "tests/kernel/test_tunable.py::"
COIN = "tests/evidence/test_pairs_and_coin.py::"
PERSIST = "tests/cli/test_persist.py::"
WATCH = "tests/modes/test_watch.py::"
GUARDING = "tests/modes/test_guarding.py::"
TUNING = "tests/modes/test_tuning.py::"
SLOTS = "tests/modes/test_slots.py::"
SCHEDULE = "tests/kmod/test_schedule.py::"
SEVERAL = "tests/modes/test_several_objectives.py::"
GUARD = "tests/proxy/test_guard.py::"
GUARDED = "tests/proxy/test_guarded_lease.py::"
GUARDED_RUN = "tests/faults/test_guard_in_a_run.py::"
RUNNER = "tests/measure/test_runner.py::"
SURROUNDINGS = "tests/measure/fairness/test_surroundings.py::"
EACH_ARM = "test_each_arm_gets_its_windows_however_late_the_timer_is"
FAILED_SWITCH = "test_a_failed_switch_ends_the_schedule"
GUARD_SOURCE = "ktune/kernel/bpf/programs/guard.bpf.h"
"""Its objects are compiled anew in the copy."""


@dataclass(frozen=True)
class Edit:
    """One replacement; `old` occurs exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutation:
    """One planted bug."""

    name: str
    edits: tuple[Edit, ...]
    kills: tuple[str, ...]
    survivors: tuple[str, ...]
    slow: bool = False
    """Runs in `make test-full` only: another planted bug nearby is caught in every run."""
    needs_guard: bool = False
    """Its tests are skipped where the BPF guard does not load."""


MUTATIONS = (
    Mutation(
        name="skip the read-back",
        edits=(
            Edit(
                "ktune/kernel/tunable.py",
                "    return _read_back(tunable, value, before, read)\n",
                "    return WriteResult(tunable.key, Outcome.APPLIED, before, value, value)\n",
            ),
        ),
        kills=(
            TUNABLE + "test_a_value_the_kernel_changes_is_clamped_unless_the_catalog_says"
            "_that_it_rounds",
            BEHAVIOUR + "test_a_rounded_value_is_success_and_says_what_is_in_force[file]",
        ),
        survivors=(
            TUNABLE + "test_a_choice_is_written_bare_and_read_from_its_brackets",
            BEHAVIOUR + "test_release_restores_everything[file]",
        ),
    ),
    Mutation(
        name="restore in forward order",
        edits=(Edit("ktune/proxy/planner.py", "[*reversed(written), *moved", "[*written, *moved"),),
        kills=(
            BEHAVIOUR
            + "test_fragment_thresholds_raised_together_come_back_without_a_refusal[file]",
            MODEL + "test_restore_goes_backwards_so_that_no_attempt_is_refused",
            MODEL + "test_the_order_of_restore_is_the_reverse_of_the_order_of_writing",
        ),
        survivors=(BEHAVIOUR + "test_release_restores_everything[file]",),
    ),
    Mutation(
        name="journal written after the write",
        edits=(
            Edit(
                "ktune/proxy/guardian/record.py",
                "        self._on_disk(intent_record(targets, why))\n",
                "        pass\n",
            ),
            Edit(
                "ktune/proxy/guardian/record.py",
                "        self._append(observed_record(seen, wrote=wrote))",
                "        late = {key: item for key, item in seen.items() if item is not None}\n"
                '        self._append(intent_record(late, ""))\n'
                "        self._append(observed_record(seen, wrote=wrote))",
            ),
        ),
        kills=(
            FAULTS + "test_the_originals_and_the_intent_are_on_file_before_the_first_write",
            FAULTS + "test_death_between_write_and_read_back_of_a_rounded_knob_is_undone",
        ),
        survivors=(
            BEHAVIOUR + "test_release_restores_everything[file]",
            BEHAVIOUR + "test_a_killed_client_has_its_knobs_restored[file]",
        ),
    ),
    Mutation(
        name="what a write drags along is not part of it",
        edits=(
            Edit(
                "ktune/proxy/planner.py",
                "    unsure = intents | dragged_along(intents | switched, held)\n",
                "    unsure = intents\n",
            ),
        ),
        kills=(
            FAULTS + "test_death_between_write_and_read_back_of_one_of_a_pair_is_undone",
            MODEL + "test_recovery_reaches_the_snapshot_from_any_point_of_death",
        ),
        survivors=(FAULTS + "test_death_between_two_writes_of_one_set_is_undone",),
        slow=True,
    ),
    Mutation(
        name="restore overwrites what somebody else wrote",
        edits=(
            Edit(
                "ktune/proxy/planner.py",
                "        return Verdict.RESTORE\n    return Verdict.FOREIGN\n",
                "        return Verdict.RESTORE\n    return Verdict.RESTORE\n",
            ),
        ),
        kills=(
            BEHAVIOUR + "test_restore_keeps_a_value_somebody_else_wrote[file]",
            MODEL + "test_what_the_administrator_wrote_is_kept_and_reported",
        ),
        survivors=(BEHAVIOUR + "test_release_restores_everything[file]",),
        slow=True,
    ),
    Mutation(
        name="fixed pair order: a coin with one side",
        edits=(
            Edit(
                "ktune/evidence/coin.py",
                "    return Order.CANDIDATE_FIRST if digest[-1] & 1 else Order.BASELINE_FIRST\n",
                "    return Order.BASELINE_FIRST\n",
            ),
        ),
        kills=(
            COIN + "test_the_coin_is_fair_and_every_toss_its_own",
            TUNING + "test_each_pair_runs_in_the_order_of_its_coin",
        ),
        survivors=(TUNING + "test_everything_is_restored_at_the_end",),
    ),
    Mutation(
        name="fixed pair order: a coin that nobody obeys",
        edits=(
            Edit(
                "ktune/modes/collaboration.py",
                "            arms.reverse()\n",
                "            pass\n",
            ),
        ),
        kills=(TUNING + "test_each_pair_runs_in_the_order_of_its_coin",),
        survivors=(TUNING + "test_everything_is_restored_at_the_end",),
        slow=True,
    ),
    Mutation(
        name="search data used in the confirmation",
        edits=(
            Edit(
                "ktune/modes/tuning.py",
                "            decision_pairs=list(self._earlier.decision_pairs.get(number, ())),\n",
                "            decision_pairs=[\n"
                "                PairResult(\n"
                "                    draw, _toss(self._settings.seed, 'decision', draw),\n"
                "                    PairState.MEASURED, gain=finalists.claimed[number],\n"
                "                )\n"
                "                for draw in range(number * DRAWS_OF_A_FINALIST,\n"
                "                                  number * DRAWS_OF_A_FINALIST + 6)\n"
                "            ],\n",
            ),
            Edit(
                "ktune/modes/tuning.py",
                "from ktune.evidence.pairs import ",
                "from ktune.evidence.coin import toss as _toss\n"
                "from ktune.evidence.pairs import PairState\n"
                "from ktune.evidence.pairs import ",
            ),
        ),
        kills=(TUNING + "test_luck_in_the_search_is_not_carried_into_the_proof",),
        survivors=(TUNING + "test_everything_is_restored_at_the_end",),
    ),
    Mutation(
        name="the decision's pairs used for the gain",
        edits=(
            Edit(
                "ktune/modes/tuning.py",
                "            estimate = estimate_gain(pairs, self._direction)\n",
                "            estimate = estimate_gain(\n"
                "                [*collaboration.decision_pairs, *pairs], self._direction\n"
                "            )\n",
            ),
        ),
        kills=(TUNING + "test_the_gain_comes_from_pairs_that_the_decision_did_not_see",),
        survivors=(TUNING + "test_everything_is_restored_at_the_end",),
        slow=True,
    ),
    Mutation(
        name="a holdback that forgets to return to the policy",
        edits=(
            Edit(
                "ktune/modes/watch/holder.py",
                "            with lease:\n                yield lease\n",
                "            with lease:\n                yield lease\n"
                "                lease.commit({})\n",
            ),
        ),
        kills=(WATCH + "test_after_every_pair_the_policy_is_in_force_and_nobody_is_accused",),
        survivors=(WATCH + "test_the_windows_run_in_the_order_of_the_coin",),
        slow=True,
    ),
    Mutation(
        name="each step of the load begins a new test of the watch",
        edits=(
            Edit(
                "ktune/modes/watch/guarding.py",
                "    if not known:\n",
                "    if known or not known:\n",
            ),
        ),
        kills=(
            GUARDING + "test_a_load_that_returns_goes_on_with_its_test",
            GUARDING
            + "test_a_guilty_policy_is_found_although_the_load_changes_after_every_third_pair",
            GUARDING + "test_a_load_that_never_rests_does_not_keep_a_policy_on_probation",
        ),
        survivors=(GUARDING + "test_another_load_is_another_test_with_the_next_share_of_alpha",),
        slow=True,
    ),
    Mutation(
        name="a probation is passed by the number of its pairs alone",
        edits=(
            Edit("ktune/modes/watch/guarding.py", " and not unshown(tests, settings):\n", ":\n"),
        ),
        kills=(GUARDING + "test_a_probation_that_is_always_begun_anew_is_not_passed",),
        survivors=(GUARDING + "test_a_load_that_never_rests_does_not_keep_a_policy_on_probation",),
        slow=True,
    ),
    Mutation(
        name="the load of a watched pair is that of its baseline window",
        edits=(
            Edit(
                "ktune/modes/watch/spec.py",
                "for arm in (baseline, policy))\n",
                "for arm in (baseline, baseline))\n",
            ),
        ),
        kills=(WATCH + "test_the_load_of_a_pair_is_that_of_both_windows_alike",),
        survivors=(WATCH + "test_an_innocent_policy_passes_its_probation_and_stays",),
        slow=True,
    ),
    Mutation(
        name="a boot that did not stay healthy is forgotten",
        edits=(
            Edit(
                "ktune/policy/persist.py",
                "    if last is not None and not last.healthy:\n",
                "    if last is not None and not last.began:\n",
            ),
        ),
        kills=(
            PERSIST + "test_a_boot_that_did_not_stay_healthy_blocks_until_a_person_persists_again",
        ),
        survivors=(PERSIST + "test_a_healthy_boot_is_followed_by_the_next",),
        slow=True,
    ),
    Mutation(
        name="fixed pair order in the watch: the coin is noted and not obeyed",
        edits=(
            Edit(
                "ktune/modes/watch/holdback.py",
                "            arms.reverse()\n",
                "            pass\n",
            ),
        ),
        kills=(WATCH + "test_the_windows_run_in_the_order_of_the_coin",),
        survivors=(WATCH + "test_after_every_pair_the_policy_is_in_force_and_nobody_is_accused",),
        slow=True,
    ),
    Mutation(
        name="several objectives: winning on the weighted goal is enough",
        edits=(
            Edit(
                "ktune/modes/settings.py",
                "                limit.metric: limit.margin for limit in goals.limits "
                "if limit.margin is not None\n",
                "                limit.metric: limit.margin\n"
                "                for limit in goals.limits\n"
                "                if limit.margin is not None and not limit.of_objective\n",
            ),
            Edit(
                "ktune/modes/tuning.py",
                "            judged = verdict(decision, estimate, limits)\n",
                "            judged = verdict(decision, estimate)\n",
            ),
        ),
        kills=(SEVERAL + "test_what_only_the_proof_shows_to_be_worse_is_not_promoted",),
        survivors=(SEVERAL + "test_a_win_on_both_is_promoted_with_the_gain_of_each",),
        slow=True,
    ),
    Mutation(
        name="the guard does not let the original through",
        edits=(
            Edit(
                GUARD_SOURCE,
                "	return inside(rule, key, *found) || "
                "(*found == rule->count && bpf_map_lookup_elem(&exact, key) != 0);\n",
                "	return inside(rule, key, *found);\n",
            ),
        ),
        kills=(
            GUARD + "test_the_original_outside_the_limits_is_always_allowed",
            GUARD + "test_a_vectors_original_passes_whole",
            GUARDED + "test_the_guardians_own_group_is_held_to_the_limits_but_for_the_original",
        ),
        survivors=(
            GUARD + "test_a_write_outside_the_limits_is_refused_with_eperm",
            GUARDED + "test_a_foreign_write_is_in_the_next_applys_report",
        ),
        needs_guard=True,
        slow=True,
    ),
    Mutation(
        name="the guard's audit does not report",
        edits=(
            Edit(
                GUARD_SOURCE,
                "	report(ctx, &written, writer_netns());\n	return 1;\n}\n\nchar",
                "	return 1;\n}\n\nchar",
            ),
        ),
        kills=(
            GUARD + "test_a_refused_write_is_told_once",
            GUARD + "test_the_guard_without_btf_judges_all_the_same",
        ),
        survivors=(
            GUARD + "test_a_write_outside_the_limits_is_refused_with_eperm",
            GUARD + "test_our_own_writes_are_not_told",
        ),
        needs_guard=True,
    ),
    Mutation(
        name="the guard reports ktune's own writes",
        edits=(
            Edit(
                GUARD_SOURCE,
                "	if (bpf_map_lookup_elem(&own, &pid))\n		return 1;\n",
                "",
            ),
        ),
        kills=(GUARD + "test_our_own_writes_are_not_told",),
        survivors=(GUARD + "test_an_event_says_who_wrote_what_where",),
        slow=True,
        needs_guard=True,
    ),
    Mutation(
        name="a limit of the profile widens the catalog's",
        edits=(
            Edit(
                "ktune/proxy/guard/rules.py",
                "    both = (rule, asked)\n",
                "    both = (asked,)\n",
            ),
        ),
        kills=(GUARD + "test_the_catalogs_limits_hold_whatever_was_asked",),
        survivors=(GUARD + "test_a_write_outside_the_limits_is_refused_with_eperm",),
        slow=True,
        needs_guard=True,
    ),
    Mutation(
        name="the workload of a watched pair is not bound",
        edits=(
            Edit(
                "ktune/modes/watch/holdback.py",
                "                lease.bind(group)\n",
                "                pass\n",
            ),
        ),
        kills=(
            GUARDED_RUN + "test_the_workload_of_a_watched_pair_is_held_to_the_limits[committed]",
            GUARDED_RUN + "test_the_workload_of_a_watched_pair_is_held_to_the_limits[leased]",
        ),
        survivors=(GUARDED_RUN + "test_the_workload_itself_is_held_to_the_limits",),
        slow=True,
        needs_guard=True,
    ),
    Mutation(
        name="count a window that the kernel's switch cut",
        edits=(
            Edit(
                "ktune/modes/slots.py",
                "    if stamp.ended_ns and to_ns > stamp.ended_ns:\n",
                "    if stamp.ended_ns and from_ns > stamp.ended_ns:\n",
            ),
        ),
        kills=(SLOTS + "test_a_switch_before_the_windows_end_voids_it_however_short",),
        survivors=(SLOTS + "test_a_window_begun_at_the_latest_ends_with_its_slot",),
        slow=True,
    ),
    Mutation(
        name="count a window before its side has settled",
        edits=(
            Edit(
                "ktune/modes/slots.py",
                "    if from_ns < pace.settled_ns(stamp):\n",
                "    if from_ns < stamp.begun_ns:\n",
            ),
        ),
        kills=(SLOTS + "test_a_window_counts_only_within_the_stamps_of_its_own_side",),
        survivors=(SLOTS + "test_a_switch_before_the_windows_end_voids_it_however_short",),
        slow=True,
    ),
    Mutation(
        name="the kernel's stamp begins before its switch is done",
        edits=(
            Edit(
                "kmod/kt_schedule.h",
                "\t\tstamp->begun_ns = now_ns;\n",
                "\t\tstamp->begun_ns = stamp->asked_ns;\n",
            ),
        ),
        kills=(SCHEDULE + EACH_ARM,),
        survivors=(SCHEDULE + FAILED_SWITCH,),
    ),
    Mutation(
        name="the kernel's stamp ends when the next switch is done",
        edits=(
            Edit(
                "kmod/kt_schedule.h",
                "\t\tstamp->begun_ns = now_ns;\n",
                "\t\tstamp->begun_ns = now_ns;\n"
                "\t\tif (s->window)\n\t\t\tstamps[s->window - 1].ended_ns = now_ns;\n",
            ),
        ),
        kills=(SCHEDULE + EACH_ARM,),
        survivors=(SCHEDULE + FAILED_SWITCH,),
        slow=True,
    ),
    Mutation(
        name="fixed pair order: the kernel's coin with one side",
        edits=(
            Edit(
                "kmod/kt_schedule.h",
                "\tstamps[s->window].arm = kt_schedule_arm(s->bits, s->window);\n",
                "\tstamps[s->window].arm = s->window % 2;\n",
            ),
        ),
        kills=(SCHEDULE + EACH_ARM,),
        survivors=(SCHEDULE + FAILED_SWITCH,),
        slow=True,
    ),
    Mutation(
        name="the bitmap of coins is read from its other end",
        edits=(
            Edit(
                "kmod/kt_schedule.h",
                "\treturn bits[window / 64] >> (window % 64) & 1;\n",
                "\treturn bits[window / 64] >> (63 - window % 64) & 1;\n",
            ),
        ),
        kills=(SCHEDULE + EACH_ARM,),
        survivors=(SCHEDULE + "test_a_malformed_schedule_is_refused[version-0-1]",),
        slow=True,
    ),
    Mutation(
        name="the bitmap of coins is written the wrong way round",
        edits=(
            Edit(
                "ktune/proxy/module/modes.py",
                "        at = 2 * pair + (not first)\n",
                "        at = 2 * pair + first\n",
            ),
        ),
        kills=(SCHEDULE + EACH_ARM,),
        survivors=(SCHEDULE + FAILED_SWITCH,),
        slow=True,
    ),
    Mutation(
        name="whatever ktune has started counts as others",
        edits=(
            Edit(
                "ktune/measure/fairness/surroundings.py",
                "        inside = family(processes, {os.getpid(), *self._more()}) | named\n",
                "        inside = {os.getpid(), *self._more()} | named\n",
            ),
        ),
        kills=(SURROUNDINGS + "test_a_child_of_ours_is_the_run_and_one_that_has_left_us_is_not",),
        survivors=(SURROUNDINGS + "test_a_program_that_does_the_work_is_the_run",),
        slow=True,
    ),
    Mutation(
        name="a disturbed window is a loss of the candidate",
        edits=(
            Edit(
                "ktune/measure/runner.py",
                "        return replace(_void(found.reason, outcome), cause=found.cause.value)\n",
                "        lost = replace(_void(found.reason, outcome), cause=found.cause.value)\n"
                "        return replace(lost, validity=Validity.CANDIDATE_FAILED)\n",
            ),
        ),
        kills=(RUNNER + "test_stolen_cpu_time_voids_a_window",),
        survivors=(RUNNER + "test_the_health_check_voids_a_window",),
        slow=True,
    ),
)
