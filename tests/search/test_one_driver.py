"""The folder of a search: one driver at a time, one search of a name."""

import os

import pytest

from prune_search.errors import UserError
from prune_search.search.layout import new


def test_a_second_driver_is_told_who_the_first_is(tmp_path):
    layout = new(tmp_path, "s")
    assert not layout.driven()
    with layout.driver():
        assert layout.driven()
        with pytest.raises(UserError, match=rf"'s' is being driven by process {os.getpid()}\. Watch it with"):
            with layout.driver():
                pass
    assert not layout.driven()
    with layout.driver():
        assert layout.driven()


def test_a_name_is_given_once(tmp_path):
    new(tmp_path, "s")
    with pytest.raises(UserError, match="a search called 's' exists in .*prune-search resume s"):
        new(tmp_path, "s")
