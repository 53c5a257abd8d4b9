"""The rules, one file each. Codes: SW1 widths, SW2 attention, SW3 parallel sizes, SW4 experts, SW5 the workload, SW6 tiles and waves."""
