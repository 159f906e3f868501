"""``python -m lockjaw`` is the ``lockjaw`` command."""

from lockjaw.cli import main

if __name__ == "__main__":
    main()
