"""Tests of mmfss; the package mirrors ``mmfss``."""
