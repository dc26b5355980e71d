"""The command line: one file per command, each thin over `scoring`, `registry` and `engine`."""

from countermark_service.cli.app import run

__all__ = ["run"]
