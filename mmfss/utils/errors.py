"""Errors that a user can correct. Nothing is imported here, so that they are told at once."""


class ConfigError(ValueError):
    """A config file, or a change to one, that cannot be used."""


class CheckpointError(ValueError):
    """A file that is not a checkpoint, or not one of the model it is loaded into."""


class UnknownModelError(ConfigError, KeyError):
    """There is no model of that name."""

    # That of a KeyError has quotes around it.
    __str__ = Exception.__str__
