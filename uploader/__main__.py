"""``python -m uploader`` is the command ``framespool``."""

from uploader.cli import main

if __name__ == "__main__":
    main()
