"""Errors by what the caller can do about them."""


class ConfigError(Exception):
    """A setting is wrong. The message names the key, the file or the flag; the command exits with 2."""


class TransientError(Exception):
    """It may go through later: retry with back-off."""


class OustedError(Exception):
    """Others go on from what was settled last, so what came after it counts for nothing: go on from there too."""


class PermanentError(Exception):
    """It will not go through: stop."""
