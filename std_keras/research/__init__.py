"""Side roads: analyses of trained students, sweeps, and teachers that resist distillation.

Nothing of the main road (train, evaluate, export, classify) needs what is here, but for
`objective="nasty"` and `"skeptical"`.
"""
