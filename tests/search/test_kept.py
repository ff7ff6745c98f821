"""Checkpoints while a search runs: whose stay."""

import pytest
from search.small_spaces import SMALL, write

from prune_search import load_spec
from prune_search.export import NETWORK
from prune_search.search.kept import Keeper
from prune_search.search.layout import Layout
from prune_search.training.files import CHECKPOINT, REPORTS


@pytest.mark.parametrize(("keep", "left"), [("front", {0, 2}), ("all", {0, 1, 2})])
@pytest.mark.parametrize("storage", [False, True])
def test_only_dropped_trials_lose_their_checkpoint_here_and_at_the_url(tmp_path, keep, left, storage):
    text = SMALL + (f"resources: {{storage: 'file://{tmp_path}/store'}}\n" if storage else "")
    spec, layout = load_spec(write(tmp_path, text, keep=keep)), Layout(tmp_path / "runs", "s")
    places = [layout.folder / "trials"] + [tmp_path / "store" / "s" / "trials"] * storage
    for place in places:
        for number in range(3):
            (place / str(number)).mkdir(parents=True)
            for name in (CHECKPOINT, *NETWORK, REPORTS):
                (place / str(number) / name).write_text("")
    keeper = Keeper(layout, spec)
    keeper.drop({1})
    keeper.close()
    for place in places:
        for name in (CHECKPOINT, *NETWORK):
            assert {int(path.parent.name) for path in place.glob(f"*/{name}")} == left
    assert (layout.trial(1) / REPORTS).exists()


def test_what_a_trial_that_was_cut_wrote_late_goes_when_the_search_ends(tmp_path):
    spec, layout = load_spec(write(tmp_path, SMALL)), Layout(tmp_path / "runs", "s")
    for number in range(2):
        layout.trial(number).mkdir(parents=True)
        (layout.trial(number) / CHECKPOINT).write_text("")
    keeper = Keeper(layout, spec)
    keeper.drop({1})
    keeper.cut(1)
    keeper._thread.submit(lambda: (layout.trial(1) / CHECKPOINT).write_text("late")).result()
    keeper.close()
    assert [path.parent.name for path in layout.folder.glob(f"trials/*/{CHECKPOINT}")] == ["0"]


def test_a_storage_that_is_away_keeps_what_it_has_and_ends_nothing(tmp_path, caplog):
    (tmp_path / "store").write_text("a file where a folder should be")
    text = SMALL + f"resources: {{storage: 'nowhere://{tmp_path}/store'}}\n"
    keeper = Keeper(Layout(tmp_path / "runs", "s"), load_spec(write(tmp_path, text)))
    keeper.drop({0, 1})
    keeper.close()
    assert [record.getMessage().split(" was not deleted")[0] for record in caplog.records] == [
        "The checkpoint of trial 0",
        "The checkpoint of trial 1",
    ]
