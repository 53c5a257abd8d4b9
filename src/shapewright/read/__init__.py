"""Readers: text, names and live configs become a `ModelShape`, each with the place where it was said (`LoadedShape`).

Imported lazily by name: `from shapewright.read.resolve import load`.
"""
