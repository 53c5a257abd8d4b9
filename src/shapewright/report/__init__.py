"""How results are shown: numbers with units for people (`text`), the same names and SI units for programs (`json`)."""
