"""The one error of this package."""


class StateRefused(ValueError):
    """A state is malformed or of another program; the text says what and where.

    It never holds what is in a state, only the names of predictors and of types.
    """
