"""The figures, tables and claims of "The Case for Co-Designing Model Architectures with Hardware" (Anthony et al. 2024) as data, and what
predicts, measures and compares them.

`figures.toml` says what each figure plots, `published.csv` what can be read off it, `claims.toml` what the paper says. A figure becomes
curves of points (`curves`), a point a time by prediction or measurement (`times`), and both become rows (`rows`) that charts draw and
`comparing` sets side by side. No torch here.
"""
