"""Runs operators, layers and whole models on the GPU at hand (or the CPU) and times them. Needs the standard library, numpy and torch."""
