"""Bad input is refused where it enters, in words that say what was probably meant."""
