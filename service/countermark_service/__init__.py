"""The Countermark service: pinned verifiers behind one API.

Rooms, lowest first: ``errors model``, ``bundles``, ``registry sandbox store``,
``engine judge``, ``runtimes``, ``releases receipts``, ``scoring``, ``audit``,
``settings``, ``assembly``, ``api cli distributed web``. A room imports lower
rooms only.
"""

__version__ = "0.1.0"
