"""The rules of scheduling, written once: plain functions on arrays, compiled where numba is.

One module per family of rules; drivers, kernels and the operator call them and hold none of their
own. `gangs` places the pods of a plan.
"""
