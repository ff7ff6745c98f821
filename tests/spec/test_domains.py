from __future__ import annotations

import pytest

from prune_search.errors import UserError
from prune_search.spec.document import parse_document
from prune_search.spec.domains import Branch, Categorical, Float, Int, parse_domains


def parse(text: str):
    document = parse_document(f"\nk: {text}\n", "f.yaml")
    return parse_domains(document, document.tree["k"], ("k",))


@pytest.mark.parametrize(
    ("text", "domain"),
    [
        ("{low: 1, high: 3}", Int(1, 3)),
        ("{low: 1, high: 3.0}", Float(1.0, 3.0)),
        ("{low: 0, high: 1, step: 0.25}", Float(0.0, 1.0, step=0.25)),
        ("{low: 1e-4, high: 1e-1, log: true}", Float(1e-4, 0.1, log=True)),
        ("{low: 8, high: 64, step: 8}", Int(8, 64, step=8)),
        ("{choices: [a, 1, null, [0.9, 0.99]]}", Categorical(("a", 1, None, [0.9, 0.99]))),
        ("{choices: {a: null, b: {c: {low: 1, high: 2}}}}", Branch({"a": {}, "b": {"c": Int(1, 2)}})),
        ("[{low: 1, high: 2}, 3]", [Int(1, 2), 3]),
        ("{step: 3}", {"step": 3}),
    ],
)
def test_what_is_written_becomes_a_domain(text, domain):
    parsed = parse(text)
    assert parsed == domain and type(parsed) is type(domain)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{low: 25, high: 7}", "k: low 25 is above high 7. Allowed: low <= high."),
        ("{low: 0, high: 7, log: true}", "k: low 0 with log: true. Allowed: low > 0, or no log."),
        ("{low: 1, high: 7, step: 0}", "k: step 0. Allowed: step > 0."),
        ("{low: 1, high: 7, log: true, step: 2}", "k: log: true with step 2. Allowed: one of the two."),
        ("{low: -1e308, high: 1e308}", "k: -1e+308 to 1e+308 is wider than a float can tell."),
        ("{low: 0.0, high: 1.0, step: 1e-6}", "k: step 1e-06 is too small for 0.0 to 1.0. Allowed: 1,000,000 steps."),
        ("{low: 1}", "k: the range has no high."),
        ("{high: 1}", "k: the range has no low."),
        ("{low: 1, high: two}", "k: high is 'two'. Allowed: a finite number."),
        ("{low: true, high: 2}", "k: low is True. Allowed: a finite number."),
        ("{low: 1, high: .inf}", "k: high is inf. Allowed: a finite number."),
        ("{low: 1, high: 2, log: 1}", "k: log is 1. Allowed: true or false."),
        (
            "{low: 1, high: 2, stp: 1}",
            "k: unknown key 'stp' in a range. Allowed: low, high, log, step. Did you mean 'step'?",
        ),
        ("{choices: []}", "k: choices is empty. Allowed: at least one choice."),
        ("{choices: {}}", "k: choices is empty."),
        ("{choices: a}", "k: choices is 'a'. Allowed: a list"),
        ("{choices: [a], log: true}", "k: unknown key 'log' beside choices. Allowed: choices alone."),
        ("{choices: [a, b, a]}", "k: the choice 'a' stands there twice. Keep one."),
        ("{choices: [1, {a: 2}]}", "k: choice 2 is a mapping."),
        ("{choices: {a: 3}}", "k.choices.a: got 3. Allowed: a mapping"),
        ("{choices: {a: {b: {low: 2, high: 1}}}}", "k.choices.a.b: low 2 is above high 1."),
    ],
)
def test_what_is_no_domain_names_file_line_key_and_value(text, said):
    with pytest.raises(UserError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"f.yaml:2: {said}")


def test_finite_domains_list_their_values():
    assert list(Int(1, 8, step=3).values()) == [1, 4, 7]
    assert Int(1, 8, step=3).extremes() == (1, 7)
    assert Float(0.1, 0.75, step=0.2).values() == (0.1, 0.3, 0.5, 0.7)
    assert Float(0.1, 0.75, step=0.2).extremes() == (0.1, 0.7)
    assert Float(0.1, 0.7).values() is None
    assert Categorical(("a", [1, 2])).values() == ("a", "[1, 2]")
    assert Branch({"a": {}, "b": {}}).values() == ("a", "b")


def test_membership_minds_types():
    assert 3 in Int(1, 4) and 3.0 not in Int(1, 4) and True not in Int(1, 4)
    assert 2 not in Int(1, 5, step=2) and 3 in Int(1, 5, step=2)
    assert 0.5 in Float(0.0, 1.0) and 1.5 not in Float(0.0, 1.0)
    assert 1 in Categorical((1, "a")) and True not in Categorical((1, "a"))
