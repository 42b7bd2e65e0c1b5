"""Version of mmfss."""

__version__ = '0.1.0'
