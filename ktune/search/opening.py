"""Open a study of the search, or go on with one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ktune.errors import KtuneError, UsageError
from ktune.search.projection import ProjectedSpace
from ktune.search.quiet import quiet, take_over_log
from ktune.search.samplers import STARTUP, SamplerName, make_sampler
from ktune.search.space import Space
from ktune.search.storage import Journal, open_database
from ktune.search.study import Search

if TYPE_CHECKING:
    from optuna import Study
    from optuna.storages import BaseStorage


def open_search(
    space: Space,
    *,
    name: str,
    journal: Path,
    sampler: SamplerName = SamplerName.TPE,
    seed: int = 0,
    constraints: Sequence[str] = (),
    objectives: Sequence[str] = (),
    storage_url: str | None = None,
    projected: ProjectedSpace | None = None,
    pruning: bool = False,
    startup: int = STARTUP,
) -> Search:
    """Open a study or go on with it.

    `constraints` names what every `ScoredTrial` brings, `objectives` (a Pareto search only) whose
    log ratios it brings. With `projected` (of the same space) the sampler sees its few dimensions
    instead of the axes. With `pruning`, what is measured again and falls behind the best is not
    measured any further (`pruning.py`). `startup`: tpe's random trials. With `storage_url` the
    trials go to that database under `name`, else to the file `journal`.

    Raises:
        BusyError: another process holds the journal (exit 6).
        KtuneError: a missing module (4), an untrusted storage (7), a study of another space (2).
    """
    with ExitStack() as stack:
        storage: BaseStorage
        if storage_url is None:
            own = Journal(journal, sampler)
            stack.callback(own.close)
            chosen = make_sampler(sampler, seed, startup=startup)
            take_over_log()
            storage = own.storage()
        else:
            chosen = make_sampler(sampler, seed, startup=startup)
            take_over_log()
            storage = open_database(storage_url, sampler)
            stack.callback(storage.remove_session)
        fingerprint = (projected or space).fingerprint
        study = _opened(storage, name, fingerprint, directions=max(1, len(objectives)))
        before = len(study.get_trials(deepcopy=False))
        study.sampler = (
            make_sampler(sampler, seed, trials_before=before, startup=startup) if before else chosen
        )
        return Search(
            study,
            space,
            constraints,
            objectives,
            stack.pop_all(),
            projected=projected,
            pruning=pruning,
        )


def _opened(storage: BaseStorage, name: str, fingerprint: str, *, directions: int) -> Study:
    import optuna

    with quiet():
        try:
            study = optuna.create_study(
                storage=storage,
                study_name=name,
                directions=["maximize"] * directions,
                load_if_exists=True,
            )
        except KtuneError:
            raise
        known = study.user_attrs.get("space")
        if known is None:
            study.set_user_attr("space", fingerprint)
    if known not in (None, fingerprint):
        raise UsageError(
            f"the study {name} searched other knobs or limits than the profile gives now",
            hint="start a new study (without --resume)",
        )
    return study
