"""What the runs of `benchmarks/` say: repeatability, the misalignment map, head sizes, layers, calibration. Rows in, plain values out."""
