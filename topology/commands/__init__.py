"""One module for each group of commands: arguments in, one call into the rooms below, the result printed."""
