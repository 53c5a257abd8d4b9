"""Findings: which dimension of a model costs time on a GPU, how much, and the nearest fix.

A rule (`rules/`, one file each) proposes a fault and the changes that would mend it; `pricing` predicts the step with and without each
change on every GPU; `linter` keeps what the predictor can tell from its own noise.
"""
