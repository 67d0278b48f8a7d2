"""Chinese, where it is to differ from Django's: digits in groups of three, as in the sentences around them."""

THOUSAND_SEPARATOR = ","
NUMBER_GROUPING = 3
