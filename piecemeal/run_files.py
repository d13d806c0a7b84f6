"""The files of a run, and which of its jobs still need data that may not be there.

Data that may not be passed on are not there beside results that were. If they were inputs of a
finished run all the same, everything made of them would be made again as soon as anything has them
prepared; so a run that is done has no data among its inputs, unless it is made again on purpose.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

TRAINED = ("weights.pt", "last.pt", "history.csv", "run.json")
SCORES = ("scores.csv", "scores_unprocessed.csv", "scores_last.csv")
SCORE_RECORD = "scores.json"


@dataclass(frozen=True)
class Again:
    """What the user wants made anew although it is there.

    `rules_and_files` are the names of rules and the paths of files (`--forcerun`; the targets of
    `--force`), `everything` is `--forceall`.
    """

    rules_and_files: frozenset[str] = frozenset()
    everything: bool = False

    @classmethod
    def of(cls, names: Iterable[str], everything: bool = False) -> Again:
        """The same of names as the user wrote them, such as ./results//smoke/runs/..."""
        return cls(frozenset(map(os.path.normpath, names)), everything)

    def includes(self, rule: str, paths: Iterable[Path]) -> bool:
        """Whether a job of `rule` that makes `paths` is to be run again."""
        made = {rule, *map(os.path.normpath, paths)}
        return self.everything or not made.isdisjoint(self.rules_and_files)


@dataclass(frozen=True)
class RunFiles:
    """The folder of a run as it is now; `scoring` is the hash of today's scoring."""

    folder: Path
    scoring: str
    again: Again = Again()

    @cached_property
    def trained_again(self) -> bool:
        """Whether its training is forced, and so its scoring as well."""
        return self.again.includes("train", self._paths(TRAINED))

    @cached_property
    def is_trained(self) -> bool:
        """Whether it is there, whole; the hash in its path vouches for it."""
        return all(path.exists() for path in self._paths(TRAINED))

    @cached_property
    def is_scored(self) -> bool:
        """Whether its scores are there, whole and of today's scoring."""
        if not all(path.exists() for path in self._paths((*SCORES, SCORE_RECORD))):
            return False
        try:
            record = json.loads((self.folder / SCORE_RECORD).read_text(encoding="utf-8"))
        except ValueError:  # a disk was full, say
            return False
        return isinstance(record, dict) and record.get("scoring") == self.scoring

    @property
    def trains(self) -> bool:
        """Whether its training needs its data."""
        return self.trained_again or not self.is_trained

    @property
    def scores(self) -> bool:
        """Whether its scoring needs its data, as it does after every training."""
        forced = self.again.includes("score", self._paths((*SCORES, SCORE_RECORD)))
        return self.trains or forced or not self.is_scored

    def _paths(self, names: Iterable[str]) -> list[Path]:
        return [self.folder / name for name in names]
