"""The script that runs the tests with other versions runs those that are claimed."""

import versions


def test_the_oldest_versions_are_those_that_are_claimed():
    oldest, newest = (versions.requirements(which) for which in ("oldest", "newest"))
    assert {"numpy==2.0", "scipy==1.13.1"} < set(oldest)
    assert [entry.split("==")[0] for entry in oldest] == [entry.split(">=")[0] for entry in newest]
    assert all(">=" in entry for entry in newest)
