"""HTTP: routes that parse, call and shape; everything else is below."""

from countermark_service.api.app import create_app

__all__ = ["create_app"]
