"""Judges of the paper's claims: `claim_<id>(evidence) -> Verdict`, by part of the paper."""
