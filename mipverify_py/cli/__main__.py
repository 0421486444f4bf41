"""`python -m mipverify_py.cli`: the command `verify` where its script is not on the path."""

from mipverify_py.cli import main

if __name__ == "__main__":
    main()
