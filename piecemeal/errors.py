"""The one exception for everything a user can put right."""


class InputError(ValueError):
    """Bad input: the message names the file or key, what was expected and what to do next."""
