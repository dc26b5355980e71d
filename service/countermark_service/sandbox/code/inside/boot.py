# ruff: noqa: PTH100, PTH118, PTH120
# Every fork would pay for the memory of pathlib.
"""Start the zygote: make a package of this folder, then run it.

Called as ``python -s -P -S -B boot.py CONTROL_FD`` with a cleared environment.
The service's own packages are not importable here, and at level `namespaces`
they are not even in the file system.
"""

import importlib
import importlib.util
import os
import sys

PACKAGE = "_countermark_inside"


def main() -> None:
    """Load the sibling modules under a private name and hand over the control socket."""
    here = os.path.dirname(os.path.abspath(__file__))
    spec = importlib.util.spec_from_file_location(
        PACKAGE,
        os.path.join(here, "__init__.py"),
        submodule_search_locations=[here],
    )
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load the sandbox programs from {here}")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    zygote = importlib.import_module(PACKAGE + ".zygote")
    zygote.main(int(sys.argv[1]))


main()
