"""Data sets of NIfTI images, each with one NIfTI file of raw label values.

    imagesTr/amos_0001.nii.gz  labelsTr/amos_0001.nii.gz              AMOS22, WORD
    img/img0001.nii.gz         label/label0001.nii.gz                 BTCV
    Training Batch 1/volume-0.nii and segmentation-0.nii              LiTS
    data/case_00000/imaging.nii.gz and segmentation.nii.gz            KiTS19

Which names belong together is told by options; several data sets share this reader.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from piecemeal.datasets.members import Member, Tree
from piecemeal.datasets.reading.nifti import read_nifti_pair
from piecemeal.datasets.scans import BadCase, CaseFiles, File, Labels, Scan, found_or_raise
from piecemeal.errors import InputError
from piecemeal.layout_types import FIELDS, CaseExpression, ImagePatterns, LabelPattern, Split

log = logging.getLogger(__name__)

_GLOB = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
_TOKENS = re.compile(r"(\{case\}|\{number\}|\*\*/|\*|\?)")
_Key = tuple[str, ...]


@dataclass(frozen=True)
class _Image:
    """An image: the file, its path below the root, what stands for its case in `labels`."""

    file: File
    path: str
    case: str
    number: str


def example(images: list[str], **_: object) -> str:
    """A path to expect below the root."""
    return images[0]


def find_cases(
    root: Path,
    bad: list[BadCase] | None = None,
    *,
    images: ImagePatterns,
    labels: list[LabelPattern],
    case: CaseExpression,
    unlabelled: Literal["bad", "skip", "keep"] = "bad",
    splits: Mapping[str, Split] | None = None,
    orphans: Literal["ignore", "bad"] = "ignore",
    empty: Literal["bad", "keep"] = "bad",
) -> list[CaseFiles]:
    r"""One scan a case, sorted; no volume is read.

    images: patterns of paths below the root (`*`, `?`; `**/`: any folders). case: a regular
    expression with one group, looked for in the image's file name, or else in its path: what it
    matches is the case, `amos_(\d{4})`; images without a match are passed over. labels: patterns
    with `{case}` for the case, or `{number}` for the group; the first that is there counts.
    unlabelled: whether an image without labels is a bad case ("bad"), passed over ("skip", where
    the publisher left some unlabelled) or a case ("keep"). splits: folder in the image's path ->
    the publisher's split. orphans: whether labels without an image are passed over ("ignore") or a
    bad case ("bad"). empty: whether labels of which no voxel is drawn are a bad case ("bad"), as
    they are if the wrong file was exported, or say that none of it is in the scan ("keep").

    Raises InputError if there is no image. Cases with a file missing, two images or two files of
    labels go to `bad`, or raise InputError naming the files.
    """
    expression = re.compile(case)
    tree = Tree(root)
    found = _images(tree, images, expression)
    if not found:
        raise InputError(
            f"{root}: no image here, expected {' or '.join(images)} with a name like {case}; put "
            "the data set there or correct the path"
        )
    known = {image.path for of_case in found.values() for image in of_case}
    drawn = _Drawn(tree, labels, expression.pattern, known)
    cases, found_bad, without = [], [], 0
    for name, of_case in sorted(found.items()):
        image, files = of_case[0], drawn.of(of_case[0])
        if reason := _several("image", [one.file for one in of_case]) or _several("labels", files):
            found_bad.append(BadCase(name, name, reason))
        elif files or unlabelled == "keep":
            split = _split(image.path, splits or {})
            drawn_on, nothing = files[0] if files else None, empty == "keep"
            cases.append(
                CaseFiles(name, "", image.file, drawn_on, split=split, may_be_empty=nothing)
            )
        elif unlabelled == "bad":
            found_bad.append(BadCase(name, name, _without_labels(image, labels)))
        else:
            without += 1
    left = drawn.orphans()
    if without or left:
        log.info("%s: %d images without labels, %d labels without image", root, without, len(left))
    if orphans == "bad":
        found_bad += [
            BadCase(name, name, f"{file}: has no image; copy it from the data set")
            for name, file in left
        ]
    return found_or_raise(cases, found_bad, bad)


def read(case: CaseFiles, labels: Labels) -> Scan:
    """One scan, with the raw label values of its file."""
    return read_nifti_pair(case.image, case.labels)


class _Drawn:
    """The files of labels, by what stands in their paths for the case."""

    def __init__(self, tree: Tree, patterns: list[str], case: str, images: set[str]):
        self._found: list[tuple[tuple[str, ...], dict[_Key, list[File]]]] = []
        self._used: set[File] = set()
        for pattern in patterns:
            fields = tuple(field for field in FIELDS if f"{{{field}}}" in pattern)
            expression = re.compile(_translated(pattern, case))
            by_key = defaultdict(list)
            for file in tree.glob(re.sub(r"\{(case|number)\}", "*", pattern)):
                path = _below(tree, file)
                if path not in images and (match := expression.fullmatch(path)):
                    by_key[tuple(match[field] for field in fields)].append(file)
            self._found.append((fields, by_key))

    def of(self, image: _Image) -> list[File]:
        """The labels of this image by the first pattern that has some."""
        files: list[File] = []
        for fields, by_key in self._found:
            matching = by_key.get(tuple(getattr(image, field) for field in fields), [])
            self._used.update(matching)
            files = files or matching
        return files

    def orphans(self) -> list[tuple[str, File]]:
        """Case (as the labels name it) and file of labels that no image asked for."""
        left = {
            file: "_".join(key)
            for _, by_key in self._found
            for key, files in by_key.items()
            for file in files
            if file not in self._used
        }
        return sorted((name, file) for file, name in left.items())


def _images(tree: Tree, patterns: Iterable[str], case: re.Pattern) -> dict[str, list[_Image]]:
    found: dict[str, dict[str, _Image]] = defaultdict(dict)
    for file in (file for pattern in patterns for file in tree.glob(pattern)):
        path = _below(tree, file)
        match = case.search(path.rpartition("/")[2]) or case.search(path)
        if match:
            image = _Image(file, path, match.group(), match.group(1) or "")
            found[image.case][path] = image
    return {name: list(by_path.values()) for name, by_path in found.items()}


def _translated(pattern: str, case: str) -> str:
    """A regular expression for the paths that a pattern of labels stands for."""

    def parts() -> Iterator[str]:
        seen = set()
        for token in _TOKENS.split(pattern):
            field = token[1:-1] if token in ("{case}", "{number}") else ""
            if not field:
                yield _GLOB.get(token, re.escape(token))
            elif field in seen:
                yield f"(?P={field})"
            else:
                seen.add(field)
                yield f"(?P<{field}>{case if field == 'case' else '[^/]+?'})"

    return "".join(parts())


def _several(kind: str, files: list[File]) -> str:
    """What is wrong with more than one file of a kind, or ""."""
    if len(files) < 2:
        return ""
    return f"{files[0]} and {files[1]} are {kind} of the same case; remove one of them"


def _without_labels(image: _Image, patterns: list[str]) -> str:
    names = [
        pattern.replace("{case}", image.case).replace("{number}", image.number)
        for pattern in patterns
    ]
    return (
        f"{image.file}: its labels are missing, expected {' or '.join(names)}; copy them from the "
        "data set"
    )


def _split(path: str, splits: Mapping[str, str]) -> str:
    folders = path.split("/")[:-1]
    return next((split for part, split in splits.items() if part in folders), "")


def _below(tree: Tree, file: File) -> str:
    return file.name if isinstance(file, Member) else file.relative_to(tree.root).as_posix()
