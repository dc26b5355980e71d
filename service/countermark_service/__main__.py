"""The `countermark` command, with a clear word where the service is not installed."""

import gc
import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line."""
    try:
        if find_spec("typer") is None:
            sys.exit(
                "countermark: this installation is the client only. "
                "The command line comes with the service: pip install 'countermark[service]'"
            )
        gc.disable()  # imports leave hardly any garbage, and to look for it takes a tenth of their time
        from countermark_service.cli import run

        gc.enable()
        run()
    except KeyboardInterrupt:  # while the command was still being loaded
        sys.exit(130)


if __name__ == "__main__":
    main()
