"""Checkpoints of other projects as our own modules (:mod:`~sundae.convert.reading`) and as bundles
(:mod:`~sundae.convert.writing`); ``docs/formats.md`` says which."""
