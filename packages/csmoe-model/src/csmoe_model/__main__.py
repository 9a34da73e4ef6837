"""`python -m csmoe_model`, as torchrun wants it."""

from csmoe_model.cli import main

if __name__ == "__main__":
    main()
