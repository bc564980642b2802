"""The command line: a command a module, and no logic that the API lacks."""
