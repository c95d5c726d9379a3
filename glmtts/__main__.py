"""`python -m glmtts` (and `torchrun -m glmtts train …`) is the `glmtts` command."""

from glmtts.cli import main

if __name__ == "__main__":
    main()
