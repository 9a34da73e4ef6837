"""`python -m csmoe_sampler`: the command line."""

from csmoe_sampler.cli import main

main()
