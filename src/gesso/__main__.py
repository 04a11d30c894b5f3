"""`python -m gesso`, the same as `gesso`."""

from gesso.cli import main

if __name__ == "__main__":
    main()
