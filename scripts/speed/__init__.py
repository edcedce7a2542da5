"""The parts of bench_runtime.py: rivals, models, measuring, tables."""
