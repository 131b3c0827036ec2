"""Training seeds of the suite: those that choose rates, those that judge the choice, and those that confirm."""

CHOOSING, JUDGING = (0, 1), (1000, 1001)
CONFIRMING = tuple(range(2000, 2010))
