"""What a cluster wants to hear, whatever is computed: `config/site.yaml`, read by the profile.

profiles/slurm/config.yaml says what each rule needs; the site says how to ask this cluster for it.
Without the file the cluster's own defaults hold. Nothing here imports torch.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from piecemeal.validation import PositiveInt, Strict, load_model

PATH = Path("config", "site.yaml")

ClusterRule = Literal["prepare", "annotate", "quality", "gallery", "train", "score"]
Resource = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


class JobSite(Strict):
    """Where jobs of one kind go."""

    partition: str | None = Field(None, description="-p; none: the cluster's default")
    qos: str | None = Field(None, description="--qos")
    constraint: str | None = Field(None, description="-C, features of nodes")
    flags: list[str] = Field([], description="further flags of sbatch, e.g. --reservation=mine")


class GpuSite(JobSite):
    """Where jobs that compute on GPUs go, and how a GPU is asked for."""

    model: str | None = Field(None, description="kind of GPU: --gpus=MODEL:N instead of --gpus=N")
    gres: str | None = Field(
        None, description="ask for one GPU by --gres=GRES:1, where --gpus is refused, e.g. gpu:a100"
    )

    @model_validator(mode="after")
    def _one_way(self) -> GpuSite:
        if self.model and self.gres:
            raise ValueError("give model or gres, not both")
        return self


class Site(Strict):
    """config/site.yaml."""

    account: str | None = Field(None, description="-A; none: the user's default")
    cpu: JobSite = Field(JobSite(), description="jobs without a GPU")
    gpu: GpuSite = Field(GpuSite(), description="training and scoring")
    max_minutes: int = Field(1440, ge=40, description="longest run time a job may ask for")
    max_mem_mb: PositiveInt = Field(256_000, description="most memory a job may ask for")
    jobs: PositiveInt = Field(50, description="jobs in the queue at a time")
    retries: int = Field(9, ge=0, description="how often a job is started again")
    status: Literal["sacct", "squeue"] | None = Field(
        None, description="who knows a job's state; squeue on clusters without accounting"
    )
    threads: dict[ClusterRule, PositiveInt] = Field({}, description="rule -> CPU cores")
    resources: dict[ClusterRule, dict[Resource, int | str]] = Field(
        {}, description="rule -> resource of the SLURM plugin -> number or Python expression"
    )

    @property
    def scoring_minutes(self) -> int:
        """What scoring may take of the time of a job, which trains before it."""
        return self.max_minutes // 4

    def everywhere(self) -> dict[str, str]:
        """Resources of every job."""
        return {"slurm_account": repr(self.account)} if self.account else {}

    def asked(self, rule: ClusterRule, *flags: str) -> dict[str, int | str]:
        """Resources of a rule's jobs that name a place; `flags` are added to those of the site."""
        gpus = rule in ("train", "score")
        where = self.gpu if gpus else self.cpu
        named = {"slurm_partition": where.partition, "qos": where.qos}
        named |= {"constraint": where.constraint}
        if gpus:
            named |= {"gpu_model": where.model}
            named |= {"gres": where.gres and f"{where.gres}:1"}
        extra = " ".join(shlex.quote(flag) for flag in (*flags, *where.flags))
        named |= {"slurm_extra": extra}
        # Snakemake evaluates what it is given: text has to be a Python string.
        asked: dict[str, int | str] = {key: repr(value) for key, value in named.items() if value}
        if gpus and not where.gres:
            asked["gpu"] = 1
        return asked | self.resources.get(rule, {})

    def more_memory(self, mb: int) -> str:
        """MB for Snakemake to evaluate: so much more at each attempt, as far as a job may go."""
        return f"min({mb} * attempt, {self.max_mem_mb})"

    def more_time(self, minutes: int, leave: int = 0) -> str:
        """Minutes of the same kind, which `leave` some for another job in the allocation."""
        return f"min({minutes} * attempt, {self.max_minutes - leave})"


def read_site(path: Path = PATH) -> Site:
    """The site; InputError naming file and key if it is not as it should be."""
    return load_model(path, Site) if path.exists() else Site()
