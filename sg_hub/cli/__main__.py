"""python -m sg_hub.cli is sg-hub, where that is not on the path."""

import sys

from sg_hub.cli.main import main

sys.exit(main())
