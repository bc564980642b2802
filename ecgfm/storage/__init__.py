"""How files are opened and read: nothing is waited for, and no claim of a file is believed before it is checked."""
