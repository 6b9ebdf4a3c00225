from __future__ import annotations

import pytest

from std_keras.errors import InputError
from std_keras.models.student_plan import StudentPlan


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher_sites": ()}, "`teacher`: a student needs at least one"),
        ({"teacher_sites": ("middle",)}, "`teacher`: site=middle must be one of"),
        ({"tokens": "cls"}, "tokens=cls: must be one of both"),
        ({"token_mlps": 0}, "token_mlps=0: must be at least 1"),
        ({"tokens": "none", "token_mlps": 2}, "token_mlps=2: tokens=none has no token MLPs"),
        (
            {"tokens": "none", "teacher_sites": ("last", "intermediate")},
            "tokens=none: .*teacher=...,site=intermediate does not apply; use site=last",
        ),
        ({"tokens": "deit", "teacher_sites": ("both",)}, "tokens=deit: .*site=both"),
        ({"tokens": "deit", "propagate_tokens": True}, "`propagate_tokens`: tokens=deit"),
        (
            {"propagate_tokens": True},
            "`propagate_tokens` needs site=both for every `teacher`, but one has site=last",
        ),
        (
            {"teacher_sites": ("both", "intermediate"), "propagate_tokens": True},
            "`propagate_tokens` needs site=both for every `teacher`, but one has site=intermediate",
        ),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(InputError, match=message):
        StudentPlan(**{"teacher_sites": ("last",), **options})


def test_sites():
    plan = StudentPlan(("last", "both"))
    assert plan.sites_of(0) == ("last",)
    assert plan.sites_of(1) == plan.used_sites == ("intermediate", "last")
    assert StudentPlan(("last", "last")).used_sites == ("last",)
