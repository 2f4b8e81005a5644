"""The knobs of one lease: which, within which limits, and what hangs together with them. Standard
library only.
"""

from __future__ import annotations

from ktune.kernel.values import Value
from ktune.proxy.actuator import KnobAccess
from ktune.proxy.allowlist import Allowlist, Rule, check_file, check_limits, check_request
from ktune.proxy.journal import held_of
from ktune.proxy.model import Json, LeaseTunable, ProxyError, value_from_json
from ktune.proxy.planner import Held, covers, dragged_along, either_or_conflicts, uncoupled

MAX_KNOBS = 2000


class KnobSet:
    """`limits` are the leased knobs as asked for; `held` has what is coupled with them as well,
    each with its original; `rules` has the rule of each of these; `alone`: coupled with none."""

    def __init__(self, allowlist: Allowlist, *, in_namespace: bool) -> None:
        self._allowlist = allowlist
        self._in_namespace = in_namespace
        self.rules: dict[str, Rule] = {}
        self.limits: dict[str, LeaseTunable] = {}
        self.held: dict[str, Held] = {}
        self.alone: frozenset[str] = frozenset()

    def admit(self, asked: list[Json], access: KnobAccess) -> None:
        """Check what is asked for, read the originals. Raises ProxyError."""
        if not asked or len(asked) > MAX_KNOBS:
            raise ProxyError("protocol", f"a lease holds 1 to {MAX_KNOBS} knobs")
        for raw in asked:
            rule = self._allowlist.rule(str(raw["key"]))
            key = rule.tunable.key
            if self._in_namespace and not rule.namespaced:
                raise ProxyError(
                    "not-allowed", f"{key} is the whole host's: a namespace is no protection for it"
                )
            self.limits[key] = check_request(raw, rule)
            self._hold(rule, access, optional=False)
        for key in sorted(self.limits):
            for other in self._allowlist.coupled(self.rules[key]):
                self._hold(other, access, optional=True)
        self.alone = uncoupled(self.held)

    def targets(self, raw: Json) -> dict[str, Value]:
        """Where all knobs of the set go when these are named. Raises ProxyError."""
        targets = {key: self.held[key].original for key in self.limits}
        for key, item in raw.items():
            if key not in self.limits:
                raise ProxyError("not-allowed", f"{key} is not part of this lease")
            value = value_from_json(self.held[key].tunable.type, item)
            if value != self.held[key].original:
                self.rules[key].check(value)
                check_limits(key, value, self.limits[key])
            targets[key] = value
        conflicts = either_or_conflicts(targets, self.held)
        named = [key for key in conflicts if key in raw]
        if len(named) > 1:
            raise ProxyError("limit", f"{' and '.join(named)} exclude each other: name one")
        for key in conflicts:
            if named and key not in raw:
                targets.pop(key)
        return self._with_companions(targets)

    def companions(self, key: str) -> list[str]:
        """What is coupled with it."""
        mine = [name for coupling in self.rules[key].couplings for name in coupling.keys]
        return [name for name in self.held if name != key and covers(mine, name)]

    @property
    def partners(self) -> frozenset[str]:
        """Knobs that a write to a leased one would zero."""
        return frozenset(dragged_along(self.limits, self.held, kinds=("either_or",)))

    def partner_is_foreign(self, key: str) -> bool:
        """What a write would zero is somebody else's."""
        partners = dragged_along([key], self.held, kinds=("either_or",))
        return any(self.held[name].foreign for name in partners)

    def _hold(self, rule: Rule, access: KnobAccess, *, optional: bool) -> None:
        key = rule.tunable.key
        if key in self.held or (self._in_namespace and not rule.namespaced):
            return
        check_file(rule.tunable.path)
        original = access.read(rule.tunable)
        if original is None:
            if optional:
                return  # coupled, but not readable on this host
            kind = rule.tunable.type.value
            raise ProxyError("missing", f"{key}: {rule.tunable.path} can't be read as {kind}")
        self.rules[key] = rule
        self.held[key] = held_of(rule, original)

    def _with_companions(self, targets: dict[str, Value]) -> dict[str, Value]:
        """Going back to an original takes its companions along: the partner of an either-or pair,
        and everything that was reset or moved when the whole set goes back."""
        whole = all(value == self.held[key].original for key, value in targets.items())
        full = dict(targets)
        for key, item in self.held.items():
            partners = {
                name for c in item.couplings if c.kind == "either_or" for name in c.keys
            } & targets.keys()
            returning = partners and all(targets[p] == self.held[p].original for p in partners)
            if (whole or returning) and key not in full:
                full[key] = item.original
        return full
