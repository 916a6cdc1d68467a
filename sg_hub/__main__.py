"""python -m sg_hub is sg-hub, for instance under torchrun: torchrun --nproc-per-node 8 -m sg_hub pretrain RECIPE."""

import sys

from sg_hub.cli import main

if __name__ == "__main__":  # processes that read data may import this file
    sys.exit(main())
