"""One file per format of published outputs."""
