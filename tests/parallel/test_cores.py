import math
import os

import pytest
from helpers.programs import python

from allconv.parallel import cores


def groups(tmp_path, membership, files):
    """Return a fake /sys/fs/cgroup and /proc/self/cgroup."""
    own = tmp_path / "own"
    own.write_text(membership)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "groups", own


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 50000\n"}, 4.0),
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000\n", "a/cpu.max": "300000 100000\n"}, 3.0),
        ("0::/docker/0123\n", {"cpu.max": "50000 100000\n"}, 0.5),  # the host's path, which a container does not see
        ("0::/../other\n", {"cpu.max": "200000 100000\n"}, 2.0),
        ("0::/\n", {"cpu.max": "nonsense"}, math.inf),
        ("0::/\n", {}, math.inf),
        ("", {"cpu.max": "100000 100000"}, math.inf),
        (
            "5:memory:/x\n4:cpu,cpuacct:/x\n0::/\n",
            {"cpu/x/cpu.cfs_quota_us": "250000\n", "cpu/x/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ("4:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "1000\n", "cpu/cpu.cfs_period_us": "1000\n"}, math.inf),
    ],
)
def test_the_quota_is_the_least_of_the_group_and_those_above(tmp_path, membership, files, expected):
    assert cores.cpu_quota(*groups(tmp_path, membership, files)) == expected


def test_there_is_no_quota_without_control_groups(tmp_path):
    assert cores.cpu_quota(tmp_path, tmp_path / "missing") == math.inf


@pytest.mark.parametrize(("quota", "expected"), [(math.inf, 4), (8.0, 4), (2.0, 2), (1.2, 2), (0.1, 1)])
def test_affinity_and_quota_bound_the_cores(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5, 6}, raising=False)
    monkeypatch.setattr(cores, "cpu_quota", lambda: quota)
    assert cores.available_cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_a_process_bound_to_one_core_has_one_thread():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import allconv; "
    assert python(code + "print(allconv.get_num_threads())", ALLCONV_NUM_THREADS="") == "1\n"


def test_the_environment_sets_the_number(monkeypatch):
    assert python("import allconv; print(allconv.get_num_threads())", ALLCONV_NUM_THREADS="3") == "3\n"
    monkeypatch.setenv("ALLCONV_NUM_THREADS", "")
    assert cores.default_num_threads() == cores.available_cores()


@pytest.mark.parametrize("value", ["0", "-2", "two", "1.5", " ", "2 4", "+2", "٣x"])
def test_another_value_in_the_environment_is_refused(monkeypatch, value):
    monkeypatch.setenv("ALLCONV_NUM_THREADS", value)
    with pytest.raises(ValueError, match="ALLCONV_NUM_THREADS must be a positive int, or not set, got") as caught:
        cores.default_num_threads()
    assert repr(value) in str(caught.value)


def test_importing_with_a_bad_value_says_so():
    with pytest.raises(AssertionError, match="ValueError: ALLCONV_NUM_THREADS must be a positive int.* got 'many'"):
        python("import allconv", ALLCONV_NUM_THREADS="many")
