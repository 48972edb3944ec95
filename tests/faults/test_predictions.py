"""jobs.predict killed and started again; the table of faults does it with 2,000 images (`--part predict`)."""

import json
from collections import Counter

import pytest

from tests.support.attempt import KILLED
from tests.support.faults import kills
from tests.support.faults.prediction_site import BROKEN, PredictionSite, killed_three_times

PHOTOS = 41


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> PredictionSite:
    return PredictionSite(tmp_path_factory.mktemp("faults-predict"), PHOTOS, 8)


def test_a_clean_run_has_each_photo_once_and_says_what_is_broken(site: PredictionSite) -> None:
    objects = site.clean.objects
    rows = [json.loads(line) for shard in shards(objects) for line in objects[shard].splitlines()]
    assert Counter(row["image"] for row in rows) == Counter(site.objects(site.raw).keys())
    assert [row["image"] for row in rows if row["error"]] == [BROKEN]
    assert len({row["class"] for row in rows}) > 1
    assert len(rows) == PHOTOS


def shards(objects: dict[str, bytes]) -> list[str]:
    manifest = json.loads(objects["manifest.json"])
    return [shard["key"] for shard in manifest["splits"]["images"]["shards"]]


@pytest.mark.parametrize("after", [pytest.param(False, marks=pytest.mark.long), True])
def test_killed_around_a_commit_it_finishes_byte_identical(site: PredictionSite, after: bool) -> None:
    row = kills.at_calls(site, [kill for kill in kills.commits(site) if kill.after == after])
    assert row.problems == []
    assert (row.attempts, row.recovered) == (3, 3)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.long)])
def test_killed_at_random_moments_it_finishes_byte_identical(site: PredictionSite, count: int) -> None:
    row = kills.at_random(site, count, seed=0, committing=True)
    assert row.problems == []
    assert row.exit_codes[KILLED] == count


def test_killed_three_times_in_a_row_it_loses_and_doubles_no_row(site: PredictionSite) -> None:
    row = killed_three_times(site, seed=0)
    assert row.problems == []
    assert row.exit_codes == {KILLED: 3, 0: 1}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_thousand_photos_killed_three_times_give_the_rows_of_a_clean_run(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    site = PredictionSite(tmp_path_factory.mktemp("faults-predict"), 2000, 8)
    assert killed_three_times(site, seed=0).problems == []
    rows = [line for shard in shards(site.clean.objects) for line in site.clean.objects[shard].splitlines()]
    assert len(rows) == len(set(rows)) == 2000
