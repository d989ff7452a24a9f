"""How many examples Hypothesis tries: few in the quick suite, all in the slow one."""

from hypothesis import settings

QUICK, THOROUGH = "quick", "thorough"  # names for --hypothesis-profile
_LEAST = 5

# Quick examples are the same in every run, so what fails is what was changed. The thorough ones
# look for what nobody thought of.
settings.register_profile(QUICK, max_examples=20, deadline=None, derandomize=True)
settings.register_profile(THOROUGH, max_examples=100, deadline=None)


def examples(thorough: int) -> int:
    """Scale a number of examples, given for the thorough profile, to the profile that is used."""
    return max(_LEAST, thorough * settings().max_examples // 100)
