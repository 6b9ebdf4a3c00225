"""Which token sets and heads a student has: the options, checked, without any layers."""

from __future__ import annotations

from dataclasses import dataclass

from std_keras.errors import InputError
from std_keras.models import option_checks

SITES = ("intermediate", "last")
TOKENS = ("both", "spatial", "channel", "none", "deit")


@dataclass(frozen=True)
class StudentPlan:
    """Checked options of a student.

    Attributes:
      teacher_sites: per teacher "last", "intermediate" or "both".
      tokens: "both", "spatial" or "channel" token sets; "none": a second head on the pooled
        features per teacher; "deit": one distillation token through the backbone.
      token_mlps: LayerNorm + MLP pairs stacked in a token set.
      propagate_tokens: the tokens that leave a teacher's intermediate set enter its last one,
        which alone has a head.

    Raises:
      InputError: the options do not fit together.
    """

    teacher_sites: tuple[str, ...]
    tokens: str = "both"
    token_mlps: int = 1
    propagate_tokens: bool = False

    def __post_init__(self) -> None:
        if not self.teacher_sites:
            raise InputError("`teacher`: a student needs at least one")
        for site in self.teacher_sites:
            if site not in (*SITES, "both"):
                raise InputError(f"`teacher`: site={site} must be one of last, intermediate, both")
        option_checks.check_choice("tokens", self.tokens, TOKENS)
        option_checks.check_at_least("token_mlps", self.token_mlps, 1)
        if not self.has_token_sets:
            self._check_without_token_sets()
        elif self.propagate_tokens and set(self.teacher_sites) != {"both"}:
            other = next(site for site in self.teacher_sites if site != "both")
            raise InputError(
                f"`propagate_tokens` needs site=both for every `teacher`, but one has site={other}"
            )

    def _check_without_token_sets(self) -> None:
        for site in self.teacher_sites:
            if site != "last":
                raise InputError(
                    f"tokens={self.tokens}: no token sets, so teacher=...,site={site} does not "
                    "apply; use site=last"
                )
        if self.token_mlps != 1:
            raise InputError(
                f"token_mlps={self.token_mlps}: tokens={self.tokens} has no token MLPs"
            )
        if self.propagate_tokens:
            raise InputError(
                f"`propagate_tokens`: tokens={self.tokens} has no token sets; "
                "use tokens=both, spatial or channel"
            )

    @property
    def has_token_sets(self) -> bool:
        return self.tokens in ("both", "spatial", "channel")

    def sites_of(self, teacher: int) -> tuple[str, ...]:
        """Sites of a teacher's token sets, intermediate first."""
        site = self.teacher_sites[teacher]
        return SITES if site == "both" else (site,)

    @property
    def used_sites(self) -> tuple[str, ...]:
        """Sites that at least one teacher uses, intermediate first."""
        used = {site for m in range(len(self.teacher_sites)) for site in self.sites_of(m)}
        return tuple(site for site in SITES if site in used)
