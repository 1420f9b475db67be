"""The base of all errors that a person can mend: the message says what is wrong, where, and the remedy."""


class FlowError(Exception):
    """Wrong input, setting, file or order of steps; trying again without a change does not help."""
