"""The kernel's tree beside the Python's: the same leaf for the same numbers; nonsense refused."""

from __future__ import annotations

import ctypes as c
from dataclasses import dataclass

from hypothesis import example, given
from hypothesis import strategies as st

from ktune.policy.kernel_tree import KernelPace, features_in, kernel_tree
from ktune.policy.tree import Chosen, Question, Switching, choose, depth, follow, leaves
from ktune.policy.tree import Tree as PyTree
from ktune.profile.features import FEATURES
from tests.kmod.core import (
    KMOD,
    LEAF,
    NO_LEAF,
    NODES,
    Choice,
    Found,
    RawNode,
    RawTree,
    Tree,
    TreeFault,
)

NAMES = ("a", "b", "c", "d")
ALL = (1 << len(FEATURES)) - 1
TICK_S = 0.125
"""Times are multiples of it: exact as floats too."""

small = st.integers(0, 40)
thresholds = small | st.integers(0, 10**12 - 1)
few_features = st.sampled_from(list(FEATURES)[:4])


def trees(levels: int) -> st.SearchStrategy[PyTree]:
    leaf = st.sampled_from(NAMES)
    if not levels:
        return leaf
    deeper = trees(levels - 1)
    return leaf | st.builds(Question, few_features, thresholds, deeper, deeper)


def rarely_shallow(levels: int) -> st.SearchStrategy[PyTree]:
    return st.builds(Question, few_features, thresholds, trees(levels - 1), trees(levels - 1))


hystereses = st.sampled_from((0.0, 0.1, 0.25, 1 / 3, 0.999)) | st.floats(0, 0.99)
values = small | st.integers(0, 2**53)


def near(tree: PyTree) -> st.SearchStrategy[int]:
    """Values around the thresholds, where hysteresis matters."""
    found: list[int] = []

    def visit(part: PyTree) -> None:
        if isinstance(part, Question):
            found.append(part.threshold)
            visit(part.then)
            visit(part.otherwise)

    visit(tree)
    if not found:
        return values
    return st.one_of(
        values,
        st.builds(
            lambda at, share, off: max(0, round(at * share) + off),
            st.sampled_from(found),
            st.floats(0, 2),
            st.integers(-2, 2),
        ),
    )


@dataclass(frozen=True)
class Loaded:
    """A tree on both sides."""

    tree: PyTree
    switching: Switching
    names: tuple[str, ...]
    kernel: Tree


def loaded(lib: c.CDLL, tree: PyTree, switching: Switching, first: str | None = None) -> Loaded:
    names = leaves(tree)
    raw = RawTree.from_buffer_copy(
        kernel_tree(tree, names, first or names[0], KernelPace(2.0, switching))
    )
    kernel = Tree()
    assert TreeFault(lib.tree_check(c.byref(raw), ALL, c.byref(kernel))) == TreeFault.GOOD
    return Loaded(tree, switching, names, kernel)


def as_array(found: dict[str, int]) -> c.Array[c.c_uint64]:
    return Found(*(found[name] for name in FEATURES))


@st.composite
def inputs(draw: st.DrawFn, tree: PyTree) -> dict[str, int]:
    numbers = near(tree)
    return {name: draw(numbers) if name in list(FEATURES)[:4] else 0 for name in FEATURES}


@given(rarely_shallow(3), hystereses, st.data())
def test_the_same_leaf_for_the_same_numbers(
    lib: c.CDLL, tree: PyTree, hysteresis: float, data: st.DataObject
) -> None:
    both = loaded(lib, tree, Switching(hysteresis=hysteresis))
    found = data.draw(inputs(tree))
    for now in (None, *both.names):
        number = NO_LEAF if now is None else both.names.index(now)
        theirs = lib.tree_choose(c.byref(both.kernel), as_array(found), number)
        assert both.names[theirs] == choose(tree, found, now=now, hysteresis=hysteresis)


@given(
    trees(3),
    st.builds(
        Switching,
        dwell_s=st.integers(0, 6).map(lambda n: n * TICK_S),
        looks=st.integers(1, 4),
        hysteresis=hystereses,
    ),
    st.data(),
)
def test_the_same_way_through_many_looks(
    lib: c.CDLL, tree: PyTree, switching: Switching, data: st.DataObject
) -> None:
    first = data.draw(st.sampled_from(leaves(tree)))
    both = loaded(lib, tree, switching, first)
    ours = Chosen(first, float("-inf"))
    choice = Choice()
    lib.tree_begin(c.byref(both.kernel), c.byref(choice))
    ticks = 0
    for passed in data.draw(st.lists(st.integers(0, 3), max_size=25)):
        ticks += passed
        found = data.draw(inputs(tree))
        ours = follow(ours, tree, found, ticks * TICK_S, switching)
        lib.tree_follow(c.byref(both.kernel), c.byref(choice), as_array(found), ticks * 125_000_000)
        assert both.names[choice.leaf] == ours.leaf
        wanted = None if choice.wanted == NO_LEAF else both.names[choice.wanted]
        assert (wanted, choice.times) == (ours.wanted, ours.times)


def test_a_dwell_is_over_when_its_time_has_passed_and_not_before(lib: c.CDLL) -> None:
    tree = Question("forks", 10, "a", "b")
    switching = Switching(dwell_s=1.0, looks=1)
    for late_ns, expected in ((-1, "b"), (0, "a")):
        both = loaded(lib, tree, switching, "a")
        choice = Choice()
        lib.tree_begin(c.byref(both.kernel), c.byref(choice))
        ours = Chosen("a", float("-inf"))
        for now_ns, forks in ((5_000_000_000, 0), (6_000_000_000 + late_ns, 100)):
            found = dict.fromkeys(FEATURES, 0) | {"forks": forks}
            ours = follow(ours, tree, found, now_ns / 1e9, switching)
            lib.tree_follow(c.byref(both.kernel), c.byref(choice), as_array(found), now_ns)
        assert both.names[choice.leaf] == expected == ours.leaf


@given(trees(3))
def test_what_python_makes_is_what_the_kernel_has(lib: c.CDLL, tree: PyTree) -> None:
    both = loaded(lib, tree, Switching(dwell_s=1.5, looks=2))
    asked = features_in(both.kernel.features)
    assert both.kernel.leaves == len(both.names)
    assert (both.kernel.sample_ms, both.kernel.dwell_ns, both.kernel.looks) == (
        2000,
        1_500_000_000,
        2,
    )
    assert depth(tree) == 0 or set(asked) <= set(list(FEATURES)[:4])
    without = Tree()
    raw = RawTree.from_buffer_copy(
        kernel_tree(tree, both.names, both.names[0], KernelPace(2.0, both.switching))
    )
    expected = TreeFault.UNREACHABLE if asked else TreeFault.GOOD
    assert lib.tree_check(c.byref(raw), 0, c.byref(without)) == expected


def valid() -> RawTree:
    tree = Question(
        "cpu_busy", 50, Question("forks", 9, "a", "b"), Question("packets", 7, "c", "d")
    )
    return RawTree.from_buffer_copy(kernel_tree(tree, NAMES, "a", KernelPace(2.0, Switching())))


MALFORMED = (
    ("version", 2, TreeFault.UNKNOWN_VERSION),
    ("nodes", 8, TreeFault.BAD_SIZE),
    ("nodes", 2, TreeFault.BAD_REFERENCE),
    ("nodes", 4, TreeFault.LOOSE_END),
    ("leaves", 0, TreeFault.BAD_SIZE),
    ("leaves", 5, TreeFault.BAD_SIZE),
    ("leaves", 3, TreeFault.BAD_REFERENCE),
    ("first", 4, TreeFault.BAD_SIZE),
    ("root", 3, TreeFault.BAD_REFERENCE),
    ("root", LEAF | 4, TreeFault.BAD_REFERENCE),
    ("root", LEAF, TreeFault.LOOSE_END),
    ("sample_ms", 99, TreeFault.BAD_PACE),
    ("sample_ms", 3600001, TreeFault.BAD_PACE),
    ("dwell_ms", 86400001, TreeFault.BAD_PACE),
    ("looks", 0, TreeFault.BAD_PACE),
    ("looks", 1001, TreeFault.BAD_PACE),
    ("keeps", 3, TreeFault.BAD_PADDING),
    ("pad", 1, TreeFault.BAD_PADDING),
    ("node.then", 0, TreeFault.BAD_REFERENCE),
    ("node.otherwise", 0x7F, TreeFault.BAD_REFERENCE),
    ("node.then", 2, TreeFault.BAD_REFERENCE),
    ("node.then", LEAF, TreeFault.LOOSE_END),
    ("node.feature", len(FEATURES), TreeFault.BAD_FEATURE),
    ("node.feature", 0xFF, TreeFault.BAD_FEATURE),
    ("node.threshold", 10**12, TreeFault.BAD_THRESHOLD),
    ("node.stay_then", 51, TreeFault.BAD_THRESHOLD),
    ("node.stay_otherwise", 49, TreeFault.BAD_THRESHOLD),
    ("node.stay_otherwise", 2**64 - 1, TreeFault.BAD_THRESHOLD),
    ("node.pad", 1, TreeFault.BAD_PADDING),
)


def test_each_malformed_field_is_refused_by_its_name(lib: c.CDLL) -> None:
    kernel = Tree()
    assert lib.tree_check(c.byref(valid()), ALL, c.byref(kernel)) == TreeFault.GOOD
    for where, value, fault in MALFORMED:
        raw, kernel = valid(), Tree()
        owner = raw.node[0] if where.startswith("node.") else raw
        field = where.removeprefix("node.")
        if field == "pad":
            owner.pad[2] = value
        else:
            setattr(owner, field, value)
        got = TreeFault(lib.tree_check(c.byref(raw), ALL, c.byref(kernel)))
        assert got == fault, f"{where} = {value}: {got.name}"
        assert bytes(kernel) == bytes(Tree()), f"{where}: written although refused"


def test_four_questions_deep_is_refused(lib: c.CDLL) -> None:
    raw = valid()
    raw.nodes = 4
    for place in range(4):
        raw.node[place] = RawNode(1, 1, 1, 0, place + 1, LEAF | place)
    raw.node[3].then = LEAF | 3
    assert lib.tree_check(c.byref(raw), ALL, c.byref(Tree())) == TreeFault.TOO_DEEP


references = st.integers(0, NODES) | st.integers(LEAF, LEAF + 4) | st.integers(0, 255)
raw_nodes = st.builds(
    RawNode,
    threshold=small,
    stay_then=small,
    stay_otherwise=small,
    feature=st.integers(0, 3),
    then=references,
    otherwise=references,
)
raw_trees = st.builds(
    lambda nodes, leaf_count, root, first, given_nodes: RawTree(
        1, 1000, 0, 1, nodes, leaf_count, root, first, 0, node=(RawNode * NODES)(*given_nodes)
    ),
    st.integers(0, NODES + 1),
    st.integers(0, 5),
    references,
    st.integers(0, 4),
    st.lists(raw_nodes, min_size=NODES, max_size=NODES),
)


@example(b"\0" * c.sizeof(RawTree))
@given(st.binary(min_size=c.sizeof(RawTree), max_size=c.sizeof(RawTree)) | raw_trees.map(bytes))
def test_whatever_is_accepted_leads_to_a_leaf_and_all_its_leaves_are_led_to(
    lib: c.CDLL, text: bytes
) -> None:
    raw, kernel = RawTree.from_buffer_copy(text), Tree()
    fault = TreeFault(lib.tree_check(c.byref(raw), ALL, c.byref(kernel)))
    reached, well_formed = walked(raw)
    if fault == TreeFault.GOOD:
        assert well_formed and reached == set(range(raw.leaves))
        for value in (0, 1, 20, 2**64 - 1):
            leaf = lib.tree_choose(c.byref(kernel), Found(*[value] * len(FEATURES)), NO_LEAF)
            assert leaf in reached


def walked(raw: RawTree) -> tuple[set[int], bool]:
    """The leaves under the root by a plain walk; False: a step out of range, or too deep."""
    reached: set[int] = set()
    seen: set[int] = set()

    def visit(reference: int, left: int) -> bool:
        if reference & LEAF:
            reached.add(reference & ~LEAF)
            return reference & ~LEAF < raw.leaves
        if left == 0 or reference >= min(raw.nodes, NODES) or reference in seen:
            return False
        seen.add(reference)
        node = raw.node[reference]
        return visit(node.then, left - 1) and visit(node.otherwise, left - 1)

    return reached, visit(raw.root, 3) and len(seen) == raw.nodes


def test_the_features_are_numbered_as_in_c() -> None:
    text = (KMOD / "uapi" / "ktune_modes.h").read_text()
    header = text.split("enum ktune_feature {")[1].split("}")[0]
    names = [word.strip().removeprefix("KTUNE_").lower() for word in header.split(",")]
    assert [name for name in names if name and name != "features"] == list(FEATURES)
