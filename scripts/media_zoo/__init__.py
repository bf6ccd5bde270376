"""The parts of scripts/make_zoo.py, zoo.py and fuzz.py; docs/media.md says what they are for."""
