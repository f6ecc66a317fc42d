"""``python -m bespoke_workers.cli`` is the `bespoke` command."""

from bespoke_workers.cli.main import main

if __name__ == "__main__":
    main()
