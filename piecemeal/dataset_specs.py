"""What a file of config/datasets says: the archives, the layout, the labels and the licence.

A fact that no public source confirms is left out (no size, no checksum), never guessed.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from piecemeal.validation import Name, PositiveInt, Strict

Modality = Literal["CT", "MR"]
# Of one's own: nobody else can fetch it, and it needs no phantom.
Access = Literal["open", "registration", "by hand", "phantom only", "own"]

# Raised when unpacking changes what ends up on disk: what was unpacked before is then stale.
UNPACKED = 1
NUMBER = "{number"  # what tells a name or an address that stands for many files


class Archive(Strict):
    """One file to get, or many that differ in a number only."""

    name: str = Field(description="file name; `{number:05d}` stands for the numbers")
    urls: list[str] = Field([], description="mirrors, tried in order; none: placed by hand")
    by_hand: str = Field("", description="where a person gets it who has to place it by hand")
    bytes: PositiveInt | None = Field(None, description="size, where it is published")
    approximate_gb: float | None = Field(None, gt=0, description="size where no better is known")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$", description="published SHA-256")
    md5: str | None = Field(None, pattern="^[0-9a-f]{32}$", description="published MD5")
    sum_from: str = Field("", description="who states the checksum")
    repacked: bool = Field(
        False,
        description="whether the server may pack it anew: with another checksum than the published "
        "one it is taken after a test, with a warning, and its own sum holds from then on",
    )
    unpack: Literal["zip", "tar", "7z", "tcia", "no"] = Field(
        description="how it is unpacked; tcia: a manifest of series, each fetched as a zip; no: it "
        "is used as it is"
    )
    into: str = Field("", description="folder of the data set that it is unpacked into")
    password_from: str = Field("", description="environment variable that holds its password")
    numbers: list[tuple[int, int]] = Field([], description="ranges of {number}, ends included")
    series_url: str = Field("", description="address of a series of a tcia manifest, with {uid}")

    @model_validator(mode="after")
    def _complete(self) -> Archive:
        if not self.urls and not self.by_hand:
            raise ValueError("give `urls`, or say in `by_hand` where a person gets it")
        if (self.sha256 or self.md5) and not self.sum_from:
            raise ValueError("`sum_from` must say who states the checksum")
        if self.repacked and (self.bytes or not (self.sha256 or self.md5)):
            raise ValueError("`repacked` takes a checksum, which may differ, and no `bytes`")
        texts = [self.name, *self.urls]
        if any((NUMBER in text) != bool(self.numbers) for text in texts):
            raise ValueError("`numbers` and {number} in name and urls go together")
        if (self.unpack == "tcia") != bool(self.series_url):
            raise ValueError("`series_url` belongs to `unpack: tcia`, and the other way round")
        return self


class PhantomSpec(Strict):
    """How a phantom of the data set is drawn."""

    writer: Name = Field(description="module of piecemeal/datasets/phantoms")
    options: dict[str, Any] = Field({}, description="what makes the writer draw this data set")


class DatasetConfig(Strict):
    """One data set: where it comes from, how it is laid out, what its raw label values mean."""

    title: str = Field(description="the data set's own name")
    version: str = Field("", description="which release")
    modality: Modality = Field(description="imaging modality of its scans")
    other_modality: dict[Modality, str] = Field(
        {}, description="modality -> regular expression of the patients that have that one instead"
    )
    layout: Name = Field(description="reader in piecemeal/datasets/layouts")
    layout_options: dict[str, Any] = Field({}, description="what the reader must be told")
    labels: dict[int | str, str] = Field(
        description="raw label value, or name of a mask -> structure; where masks overlap, the "
        "later one wins, and any of a cohort's structures over the others"
    )
    sides: dict[str, tuple[str, str]] = Field(
        {}, description="structure that merges both sides -> (right one, left one) to split it into"
    )
    side_check: list[tuple[str, str]] = Field(
        [], description="pairs (structure, other): the first lies further to the patient's right"
    )
    unit_spacing: Literal["reject", "accept"] = Field(
        "reject", description="what becomes of a CT whose voxels claim to be exactly 1 x 1 x 1 mm"
    )
    archives: list[Archive] = Field([], description="what is fetched")
    licence: str = Field(description="licence of the data, as its owner states it")
    redistribution: Literal["allowed", "forbidden", "unclear"] = Field(
        description="whether copies may be passed on"
    )
    access: Access = Field(description="how the data are obtained")
    homepage: str = Field("", description="where to read about it and ask for it")
    citation: str = Field(description="what to cite")
    notes: list[str] = Field([], description="what a user should know: errata, conflicts")
    exclude: dict[str, str] = Field({}, description="scan or patient -> reason it is left out")
    phantom: PhantomSpec | None = Field(None, description="how it is drawn; own data may have none")

    @property
    def structures(self) -> list[str]:
        """What its labels can tell: structures split into sides where they are merged on disk."""
        names = [side for name in self.labels.values() for side in self.sides.get(name, (name,))]
        return [name for name in dict.fromkeys(names) if name != "background"]

    @model_validator(mode="after")
    def _sensible(self) -> DatasetConfig:
        if len({isinstance(raw, str) for raw in self.labels}) > 1:
            raise ValueError("labels: either raw values (whole numbers) or names of masks")
        if unknown := sorted(set(self.sides) - set(self.labels.values())):
            raise ValueError(f"sides: {unknown} are not structures of `labels`")
        known = set(self.structures)
        named = {name for pair in self.side_check for name in pair}
        if unknown := sorted(named - known):
            raise ValueError(f"side_check: {unknown} are not among {sorted(known)}")
        if (self.access in ("phantom only", "own")) != (not self.archives):
            raise ValueError(
                "archives: every data set has some, unless access is 'phantom only' or 'own'"
            )
        if self.phantom is None and self.access != "own":
            raise ValueError("phantom: every data set has one, unless access is 'own'")
        return self
