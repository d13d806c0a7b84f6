import re
from pathlib import Path
from typing import get_args

import pytest

from piecemeal.errors import InputError
from piecemeal.site import ClusterRule, Site, read_site
from piecemeal.validation import validate

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "config" / "site.example.yaml"


def site(**content) -> Site:
    return validate(content, Site, "config/site.yaml")


def test_without_the_file_the_clusters_defaults_hold(tmp_path):
    assert read_site(tmp_path / "site.yaml") == Site()
    assert Site().everywhere() == {}
    assert Site().asked("annotate") == {}
    assert Site().asked("train") == {"gpu": 1}


def test_the_example_can_be_copied():
    example = read_site(EXAMPLE)
    assert example.everywhere() == {"slurm_account": "'my_project'"}
    assert example.asked("score", "--signal=URG@600") == {
        "slurm_partition": "'gpu'",
        "gpu_model": "'a100'",
        "slurm_extra": "'--signal=URG@600 --reservation=paper'",
        "gpu": 1,
    }


def test_the_example_names_every_key():
    text = EXAMPLE.read_text()
    models = (Site, Site.model_fields["cpu"].annotation, Site.model_fields["gpu"].annotation)
    for key in {key for model in models for key in model.model_fields}:
        assert re.search(rf"^[\s#]*{key}:", text, re.MULTILINE), key


def test_the_example_states_the_defaults():
    said = dict(re.findall(r"^(\w+):.*\[(\d+)\]$", EXAMPLE.read_text(), re.MULTILINE))
    assert said.keys() == {"max_minutes", "max_mem_mb", "jobs", "retries"}
    assert {key: int(value) for key, value in said.items()} == Site().model_dump(include=set(said))


def test_a_gpu_may_be_asked_for_as_a_generic_resource():
    asked = site(gpu={"gres": "gpu:a100"}).asked("train")
    assert asked == {"gres": "'gpu:a100:1'"}


def test_two_ways_to_ask_for_a_gpu_are_refused():
    with pytest.raises(InputError, match=r"config/site.yaml: key 'gpu': .*model or gres"):
        site(gpu={"gres": "gpu", "model": "a100"})


def test_resources_of_the_site_stand_in_for_those_of_the_profile():
    asked = site(resources={"train": {"gpu": 4, "mem_mb": "100 * attempt"}}).asked("train")
    assert asked == {"gpu": 4, "mem_mb": "100 * attempt"}


def test_flags_are_words_of_their_own():
    asked = site(cpu={"flags": ["--comment=two words"]}).asked("prepare")
    assert asked == {"slurm_extra": repr("'--comment=two words'")}


def test_more_at_each_attempt_but_not_more_than_there_is():
    here = site(max_mem_mb=50_000, max_minutes=1000)
    memory, time = here.more_memory(20_000), here.more_time(600, leave=60)
    assert [eval(memory, {"attempt": n}) for n in (1, 2, 3)] == [20_000, 40_000, 50_000]
    assert [eval(time, {"attempt": n}) for n in (1, 2)] == [600, 940]


@pytest.mark.parametrize("minutes", [40, 240, 1440])
def test_training_and_scoring_together_never_ask_for_more_time_than_there_is(minutes):
    here = site(max_minutes=minutes)
    training = here.more_time(720, leave=here.scoring_minutes)
    for attempt in range(1, 10):
        scoring = min(60 * attempt, here.scoring_minutes)
        assert 0 < eval(training, {"attempt": attempt}) + scoring <= minutes
        assert scoring > 0


def test_time_that_is_over_before_its_signal_is_refused():
    with pytest.raises(InputError, match="max_minutes"):
        site(max_minutes=10)


@pytest.mark.parametrize("key", ["partition", "cluster"])
def test_an_unknown_key_is_named(key):
    with pytest.raises(InputError, match=f"config/site.yaml: key '{key}': unknown key; allowed"):
        site(**{key: "x"})


def test_every_rule_is_local_or_known_to_the_site():
    texts = [path.read_text() for path in (ROOT / "rules").glob("*.smk")]
    rules = [rule for text in texts for rule in re.split(r"^(?=rule \w+:)", text, flags=re.M)[1:]]
    submitted = {re.match(r"rule (\w+):", r)[1] for r in rules if "localrule: True" not in r}
    assert submitted == set(get_args(ClusterRule))
