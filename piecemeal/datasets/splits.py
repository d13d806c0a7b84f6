"""Which patients take part, and seeded splits of them.

The splits need no random generator, so no library can change them.
"""

import hashlib

import pandas as pd

from piecemeal.errors import InputError

# Names of missing patients in a message before it goes on with `...`.
SHOWN = 5


def choose_patients(dataset: str, source: dict, there: set[str]) -> list[str]:
    """The patients that `patients` and `limit` of the source leave of those that are `there`.

    source: as in `prepare`. patients: only these; limit: the first so many by name, of those.
    Both may be None. Raises InputError if a patient of the list is not there.
    """
    named = source.get("patients")
    wanted = there if named is None else set(named)
    if missing := sorted(wanted - there):
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        raise InputError(
            f"data set {dataset} in {source['root']}: {len(missing)} of the {len(wanted)} patients "
            f"of the key sources.{dataset}.patients in config/scales are not there, or excluded in "
            f"config/datasets/{dataset}.yaml: {shown}; correct the list, or add their files"
        )
    return sorted(wanted)[: source.get("limit")]


def split_cases(
    cases: list[str], seed: int, train: int, validation: int, test: int
) -> pd.DataFrame:
    """Draw a split of patients: columns case, split and half, sorted by case.

    Patients are put in the order of SHA-256("seed:case"); the first `test` of them are the test
    set, the next `validation` and then `train` the others, so more training patients never change
    the test set. Patients left over are not in the table. The order of `cases` and repeated names
    (a patient's two phases) do not matter.

    half is 1 or 2: in the same order the first half of the training patients, and the first half of
    the validation patients, are 1 (the larger half of an odd number); it is <NA> in the test set.

    Raises InputError if more patients are asked for than there are, or a count is negative.
    """
    sizes = {"test": test, "validation": validation, "train": train}
    patients = sorted(set(cases), key=lambda case: (_hash(seed, case), case))
    if min(sizes.values()) < 0:
        raise InputError(f"split: a count is negative: {sizes}; use 0 or more")
    if sum(sizes.values()) > len(patients):
        raise InputError(
            f"split: asks for {sum(sizes.values())} patients (train {train}, validation "
            f"{validation}, test {test}), but there are {len(patients)}; ask for fewer, or add data"
        )
    rows, start = [], 0
    for split, size in sizes.items():
        for position, case in enumerate(patients[start : start + size]):
            half = pd.NA if split == "test" else 1 if position < (size + 1) // 2 else 2
            rows.append((case, split, half))
        start += size
    table = pd.DataFrame(rows, columns=["case", "split", "half"]).astype({"half": "Int64"})
    return table.sort_values("case", ignore_index=True)


def _hash(seed: int, case: str) -> str:
    return hashlib.sha256(f"{seed}:{case}".encode()).hexdigest()
