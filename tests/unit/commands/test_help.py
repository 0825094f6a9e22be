"""`--help`: every key has its words, and they are read from where the key is defined."""

import pytest

from pipeline.__main__ import main
from pipeline.config.keys import keys, words_of
from pipeline.config.names import all_names
from pipeline.config.nodes.learning import DpoConfig
from pipeline.config.nodes.people import PublishConfig


def test_every_key_has_words_beside_it() -> None:
    """A key that is added without a comment in config.py fails here."""
    assert [key.name for key in keys() if not key.words.strip()] == []


def test_the_keys_are_those_that_can_be_given() -> None:
    assert [key.name for key in keys()] == list(all_names().keys)


def test_words_come_from_the_comment_of_the_class_that_defines_the_field() -> None:
    assert words_of(DpoConfig, "beta") == "how much leaving the reference costs"
    assert words_of(DpoConfig, "epochs") == "passes over the training rows"
    assert words_of(PublishConfig, "question") == "follows labeling.question unless set"
    assert words_of(DpoConfig, "inputs").endswith("policy, preferences")


def test_help_shows_usage_and_each_key_with_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help", "dpo.beta=0.3"]) == 0
    out = capsys.readouterr().out
    assert "python -m pipeline status" in out
    assert "exit status: 0 done" in out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "dpo.beta=0.3 how much leaving the reference costs" in lines
    named = {line.partition("=")[0].split(" ")[0] for line in lines}
    nodes = ("peft", "decoding")
    left = [key for key in all_names().keys if key not in named and not set(nodes) & set(key.split("."))]
    assert left == []


def test_help_about_some_keys_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help", "sft.peft"]) == 0
    out = capsys.readouterr().out
    assert "sft.peft.rank=16" in out
    assert "dpo" not in out


def test_help_about_a_key_that_does_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help", "dpoo"]) == 2
    assert "Did you mean 'dpo'?" in capsys.readouterr().err
