"""Side roads: analyses of trained students, sweeps, and teachers that resist distillation.

Training, evaluation, export and classification do not need this package, except for
`objective="nasty"` and `"skeptical"`.
"""
