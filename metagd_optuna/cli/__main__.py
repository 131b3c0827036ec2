"""``python -m metagd_optuna.cli``."""

from metagd_optuna.cli import main

if __name__ == "__main__":
    main()
