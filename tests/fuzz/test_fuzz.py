"""The short form of ``python -m tests.fuzz``: the corpus, a few hundred variations of it, and properties."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.targets import CORPUS, TARGETS, Escape
from prune_search.cost.metrics import METRICS
from prune_search.spec.conditions import AllOf, AnyOf, Comparison, parse_where
from prune_search.spec.document import dump, parse_document
from prune_search.tracking import redacted

VARIATIONS = {"document": 40, "space": 30, "overrides": 30, "table": 100, "table_meta": 60, "architecture": 200}

words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | words
trees = st.dictionaries(
    words,
    st.recursive(
        scalars, lambda below: st.lists(below, max_size=4) | st.dictionaries(words, below, max_size=4), max_leaves=12
    ),
    max_size=5,
)
comparisons = st.builds(
    Comparison,
    st.sampled_from(sorted(METRICS)),
    st.sampled_from([">=", "<=", ">", "<", "=="]),
    st.floats(allow_nan=False, allow_infinity=False),
)
conditions = st.recursive(
    comparisons,
    lambda below: st.builds(
        lambda kind, parts: kind(tuple(parts)), st.sampled_from([AllOf, AnyOf]), st.lists(below, min_size=2, max_size=3)
    ),
    max_leaves=8,
)
userinfo = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Z"), exclude_characters="'\"/?#@"),
    min_size=3,
    max_size=20,
)


@pytest.mark.parametrize("name", TARGETS)
def test_what_escaped_once_and_what_is_like_it_do_not_escape(name):
    target, seeds = TARGETS[name], [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
    run, draw = target.make(), random.Random(0)
    assert len(seeds) >= 2
    for seed in seeds:
        run(seed)
    for _ in range(VARIATIONS.get(name, 300)):
        run(target.vary(draw.choice(seeds), draw))


def test_an_escape_is_told():
    """The targets can fail: a message without end, an answer that is another one."""
    from fuzz.targets import told
    from prune_search.errors import UserError

    with pytest.raises(Escape):
        told(UserError(" "))
    assert len(str(UserError("x" * 10_000))) <= 2000


@settings(deadline=None, max_examples=100, derandomize=True)
@given(trees)
def test_what_is_written_as_yaml_is_read_as_it_was(tree):
    assert repr(parse_document(dump(tree), "space.yaml").tree) == repr(tree)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(conditions, st.dictionaries(st.sampled_from(sorted(METRICS)), st.floats(), min_size=len(METRICS)))
def test_a_condition_means_what_it_says(condition, metrics):
    again = parse_where(str(condition))
    assert again.names() == condition.names() and again.violation(metrics) == condition.violation(metrics)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(userinfo, userinfo, st.sampled_from(["postgresql+psycopg", "https", "mysql", "s3"]))
def test_a_password_is_not_shown(user, password, scheme):
    text = f"connection to {scheme}://{user}:{password}@host:5432/runs?timeout=5 failed"
    assert redacted(text) == f"connection to {scheme}://***@host:5432/runs?timeout=5 failed"
