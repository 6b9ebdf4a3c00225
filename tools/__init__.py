"""What only this repository needs: its two commands, benchmarks against others, tables."""
