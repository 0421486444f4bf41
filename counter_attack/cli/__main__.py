"""`python -m counter_attack.cli`: the command `counter-attack` where its script is not on the path."""

from counter_attack.cli import main

if __name__ == "__main__":
    main()
