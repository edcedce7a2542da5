"""The parts of runtime.py: rivals, models, measuring, tables."""
