"""`python -m jaxdpmm` is `jaxdpmm`."""

from jaxdpmm.cli import main

if __name__ == "__main__":
    main()
