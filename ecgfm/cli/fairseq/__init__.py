"""Configurations of fairseq-signals: what its YAML files and overrides say, and the settings that this makes of it."""
