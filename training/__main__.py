"""python -m training COMMAND is sg-hub COMMAND, in a checkout."""

import sys

from sg_hub.cli import main

if __name__ == "__main__":  # processes that read data may import this file
    sys.exit(main())
